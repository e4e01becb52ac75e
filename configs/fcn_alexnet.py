"""FCN-AlexNet (32s) on PASCAL VOC (Long, Shelhamer, Darrell 2015), as released.

    python -m jaxseg.main --config configs/fcn_alexnet.py --config.data.root=VOCdevkit/VOC2012 \\
      --config.init.pretrained=bvlc_reference_caffenet.caffemodel --workdir runs/fcn_alexnet

Source: the solver of fcn-alexnet-pascal, which differs from those of the other released networks:
twenty images per step, one after the other, momentum 0.9, loss averaged over pixels, learning
rate 1e-4, decay 5e-4, 100,000 steps. Only the bias of the logits layer has twice the rate and no
decay.

Expected: mean IoU 48.0 on seg11valid.

The authors average the means of twenty images, each in its own size. Here the mean is over all
labelled pixels of the twenty images, which are padded to 500×500 with ignored labels.

Data: as `fcn32s.py`. Hardware: one GPU of 4 GB.

Variants:
  :cvpr   the paper's first solver: rate 1e-3, all biases at twice the rate; 39.8 on VOC 2011's own
          training images, 48.0 with SBD's
  :smoke  narrow, on generated scenes, half a minute on two cores
"""

from jaxseg.config.recipes import chosen, fcn_cvpr, fcn_on_scenes


def get_config(variant: str = "released"):
    """The recipe."""

    def released():
        c = fcn_cvpr("fcn32s_alexnet", lr=1e-4, steps=100_000)
        c.data.sampling = "replacement"
        c.optim.rules = (("^params/score_fr/bias$", 2.0, 0.0),)
        return c

    return chosen(
        variant,
        {
            "released": released,
            "cvpr": lambda: fcn_cvpr("fcn32s_alexnet", lr=1e-3, steps=74_375),
            "smoke": lambda: fcn_on_scenes(released(), lr=0.05, steps=100),
        },
    )
