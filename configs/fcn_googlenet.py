"""FCN-GoogLeNet (32s) on PASCAL VOC (Long, Shelhamer, Darrell 2015), from the paper; never
released.

    python -m jaxseg.main --config configs/fcn_googlenet.py --config.data.root=VOCdevkit/VOC2012 \\
      --config.init.pretrained=bvlc_googlenet.caffemodel --workdir runs/fcn_googlenet

Source: section 4.3 of the CVPR paper: batch 20, momentum 0.9, learning rate 5e-5 (twice that for
biases, without decay), decay 5e-4, 175 epochs.

Expected: mean IoU 42.5 on VOC 2011's validation images, trained on VOC 2011's training images, from
the authors' own classifier (68.5 % top-1), not bvlc_googlenet. With SBD, as here, more.

Data: as `fcn32s.py`. Hardware: one GPU of 4 GB.

Variants:
  :smoke  narrow, on generated scenes, half a minute on two cores
"""

from jaxseg.config.recipes import chosen, fcn_cvpr, fcn_on_scenes


def get_config(variant: str = "cvpr"):
    """The recipe."""

    def cvpr():
        return fcn_cvpr("fcn32s_googlenet", lr=5e-5, steps=74_375)

    return chosen(
        variant,
        {"cvpr": cvpr, "smoke": lambda: fcn_on_scenes(cvpr(), lr=5e-5, steps=100)},
    )
