"""FCN-8s "at once" on PASCAL VOC (Shelhamer, Long, Darrell 2017), as released, in a single stage.

    python -m jaxseg.main --config configs/fcn8s_atonce.py --config.data.root=VOCdevkit/VOC2012 \\
      --config.init.pretrained=VGG_ILSVRC_16_layers.caffemodel --workdir runs/fcn8s_atonce

Source: the solver of fcn8s-atonce-pascal: that of `fcn32s.py`, for 300,000 steps. The network
scales pool4 by 0.01 and pool3 by 0.0001 before their logits layers, so that all strides learn
together.

Expected: mean IoU 65.4 on seg11valid (pixel accuracy 91.1); reproduced by others as 64.7.

Data, hardware: as `fcn32s.py`.

Variants:
  :mean   the same step with a mean over pixels (see `jaxseg.config.recipes.fcn_mean`)
  :smoke  narrow, on generated scenes, half a minute on two cores
"""

from jaxseg.config.recipes import chosen, fcn_heavy, fcn_mean, fcn_on_scenes


def get_config(variant: str = "heavy"):
    """The recipe."""

    def heavy():
        c = fcn_heavy("fcn8s_atonce_vgg16", lr=1e-10)
        c.train.steps = 300_000
        return c

    return chosen(
        variant,
        {
            "heavy": heavy,
            "mean": lambda: fcn_mean(heavy()),
            "smoke": lambda: fcn_on_scenes(heavy(), lr=3e-8, steps=120),
        },
    )
