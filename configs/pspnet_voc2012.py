"""PSPNet-101 on PASCAL VOC 2012 with SBD's labels (Zhao, Shi, Qi, Wang, Jia 2017).

    python -m jaxseg.main --config configs/pspnet_voc2012.py --config.data.root=VOCdevkit/VOC2012

    python -m jaxseg.main --config configs/pspnet_voc2012.py:semseg \\
      --config.data.root=VOCdevkit/VOC2012 --config.init.pretrained=resnet101_v2.pth

Source: as `pspnet_ade20k.py`, for 30,000 steps on the 10,582 images of train_aug.

Expected: the paper reports 82.6 mean IoU on the VOC 2012 test server at six scales (85.4 with
COCO). On the 1,449 images of val, semseg reports 79.07 and pixel accuracy 95.34 at a single
scale, 79.63 and 95.50 at six.

Data: VOC 2012, and beside it SBD (benchmark_RELEASE).

Hardware: four GPUs of 12 GB, or one of 48 GB (semseg: 5 hours on eight RTX 2080 Ti).

Variants:
  :semseg  the authors' second release: 50 epochs, PyTorch's form of momentum, all parameters decay
  :smoke   narrow, on generated scenes, half a minute on two cores
"""

from jaxseg.config.recipes import pspnet


def get_config(variant: str = "paper"):
    """The recipe."""
    c = pspnet(
        variant,
        "pspnet_resnet101",
        "voc2012",
        crop=473,
        base_size=512,
        steps=30_000,
        semseg_steps=50 * (10_582 // 16),
    )
    if c.data.name == "voc2012":
        c.data.train_split = "train_aug"
    return c
