"""PSPNet-101 on Cityscapes, 19 classes (Zhao, Shi, Qi, Wang, Jia 2017).

    python -m jaxseg.main --config configs/pspnet_cityscapes.py --config.data.root=cityscapes

    python -m jaxseg.main --config configs/pspnet_cityscapes.py:semseg \\
      --config.data.root=cityscapes --config.init.pretrained=resnet101_v2.pth

Source: as `pspnet_ade20k.py`, for 90,000 steps on crops of 713×713, without rotation or blur.

Expected: mean IoU 79.70, pixel accuracy 96.38 on the 500 validation images at a single scale, 80.91
and 96.59 at six; 78.4 on the test server with only the fine labels. semseg reports 78.63 and
96.14, at six scales 79.29 and 96.38.

Hardware: eight GPUs of 12 GB, or one of 80 GB (semseg: 10 hours on eight RTX 2080 Ti);
--config.model.remat saves memory.

Variants:
  :semseg  the authors' second release: 200 epochs, PyTorch's form of momentum, all parameters
           decay, also with rotation and blur
  :smoke   narrow, on generated scenes, half a minute on two cores
"""

from jaxseg.config.recipes import pspnet


def get_config(variant: str = "paper"):
    """The recipe."""
    return pspnet(
        variant,
        "pspnet_resnet101",
        "cityscapes",
        crop=713,
        base_size=2048,
        steps=90_000,
        semseg_steps=200 * (2_975 // 16),
    )
