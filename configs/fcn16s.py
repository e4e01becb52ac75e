"""FCN-16s on PASCAL VOC (Long, Shelhamer, Darrell 2015), as released: it starts from FCN-32s.

    python -m jaxseg.main --config configs/fcn16s.py --config.data.root=VOCdevkit/VOC2012 \\
      --config.init.pretrained=runs/fcn32s --workdir runs/fcn16s

`init.pretrained` is the workdir of FCN-32s, or fcn32s-heavy-pascal.caffemodel. `fcn8s.py:staged`
trains FCN-32s, FCN-16s and FCN-8s with one command.

Source: the solver of fcn16s-heavy-pascal: that of `fcn32s.py` with a learning rate of 1e-12. The
logits layer of pool4 starts at zero.

Expected: mean IoU 65.0 on seg11valid (pixel accuracy 91.0); reproduced by others as 64.9.

Data, hardware: as `fcn32s.py`; the authors took about a day.

Variants:
  :mean   the same step with a mean over pixels (see `jaxseg.config.recipes.fcn_mean`)
  :cvpr   the paper's first solver, from `fcn32s.py:cvpr`: a hundredth of its rate; 62.4 expected
  :smoke  narrow, on generated scenes, half a minute on two cores
"""

from jaxseg.config.recipes import chosen, fcn_cvpr, fcn_heavy, fcn_mean, fcn_on_scenes


def get_config(variant: str = "heavy"):
    """The recipe."""

    def heavy():
        return fcn_heavy("fcn16s_vgg16", lr=1e-12)

    return chosen(
        variant,
        {
            "heavy": heavy,
            "mean": lambda: fcn_mean(heavy()),
            "cvpr": lambda: fcn_cvpr("fcn16s_vgg16", lr=1e-6, steps=25_000),
            "smoke": lambda: fcn_on_scenes(heavy(), lr=3e-8, steps=120),
        },
    )
