"""PSPNet-50 on ADE20K, 150 classes (Zhao, Shi, Qi, Wang, Jia 2017).

    python -m jaxseg.main --config configs/pspnet_ade20k.py --config.data.root=ADEChallengeData2016

    python -m jaxseg.main --config configs/pspnet_ade20k.py:semseg \\
      --config.data.root=ADEChallengeData2016 --config.init.pretrained=resnet50_v2.pth

Source: section 5 of the paper, and the released networks: 150,000 steps of 16 crops of 473×473,
mirrored, scaled by 0.5 to 2, rotated by up to 10 degrees, blurred; SGD with momentum 0.9 in
Caffe's form (rate applied before momentum), rate 0.01 * (1 - step / steps) ** 0.9, ten times that
for new layers, decay 1e-4, auxiliary loss 0.4. The authors published no training code and no
ImageNet weights for this network; semseg's weights are for the `:semseg` variant.

Expected: mean IoU 41.68, pixel accuracy 80.04 on the 2,000 validation images at a single scale;
42.78 and 80.76 at six. semseg reports 41.89 and 80.39, at six scales 42.84 and 81.06. After
training, the network is evaluated with sliding windows of 473×473, also mirrored; for six scales
run:

    python -m jaxseg evaluate --workdir W '--config.eval.scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75)'

Hardware: four GPUs of 12 GB, or one of 48 GB (semseg: 14 hours on eight RTX 2080 Ti). The loss is
computed at full resolution, as in semseg; the paper mostly used an eighth of it.

Variants:
  :semseg  the authors' second release: 100 epochs, PyTorch's form of momentum, all parameters decay
  :smoke   narrow, on generated scenes, half a minute on two cores

`--config.optim.momentum_form=pytorch` changes only the form of momentum.
"""

from jaxseg.config.recipes import pspnet


def get_config(variant: str = "paper"):
    """The recipe."""
    return pspnet(
        variant,
        "pspnet_resnet50",
        "ade20k",
        crop=473,
        base_size=512,
        steps=150_000,
        semseg_steps=100 * (20_210 // 16),
    )
