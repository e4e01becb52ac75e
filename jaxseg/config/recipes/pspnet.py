"""PSPNet's two solvers: that of the paper, in Caffe, and that of the authors' second release."""

import ml_collections

from jaxseg.config import default_config
from jaxseg.config.recipes.variants import chosen, on_scenes

_NEW = "^params/(head|aux|level)"  # layers that the ImageNet classifier does not have


def pspnet(
    variant: str, model: str, data: str, *, crop: int, base_size: int, steps: int, semseg_steps: int
):
    """The common variants of the PSPNet recipes.

    Args:
      variant: "paper", "semseg" or "smoke".
      model: name of the network.
      data: "ade20k", "voc2012" or "cityscapes".
      crop: height and width of the crops, and of the evaluation windows.
      base_size: long side of an image in evaluation, in pixels.
      steps: steps of the paper.
      semseg_steps: steps of semseg: its epochs, each without the last incomplete batch.
    """
    return chosen(
        variant,
        {
            "paper": lambda: _paper(model, data, crop, base_size, steps),
            "semseg": lambda: _semseg(model, data, crop, base_size, semseg_steps),
            "smoke": lambda: _smoke(_paper(model, data, crop, base_size, steps)),
        },
    )


def _paper(model, data, crop, base_size, steps) -> ml_collections.ConfigDict:
    """The solver of the paper and of the released Caffe networks (section 5).

    New layers have ten times the learning rate, the biases of their logits layers twenty times, and
    batch norm has no decay. Rotation and blur are used only for ADE20K and VOC.
    """
    c = _pspnet(model, data, crop, base_size, steps)
    c.model.stride_on = "1x1"
    c.model.dropout_mode = "element"
    c.model.bn_momentum = 0.95
    if data != "cityscapes":
        _rotate_and_blur(c)
    c.optim.momentum_form = "caffe"
    c.optim.rules = (
        (f"{_NEW}.*score/bias$", 20.0, 1.0),
        (f"{_NEW}.*/bn/", 10.0, 0.0),
        ("/bn/", 1.0, 0.0),
        (_NEW, 10.0, 1.0),
    )
    c.eval.fusion = "caffe"
    return c


def _semseg(model, data, crop, base_size, steps) -> ml_collections.ConfigDict:
    """The solver of the authors' second release, semseg, in PyTorch: new layers have ten times the
    learning rate, all parameters have decay, and every data set is rotated and blurred."""
    c = _pspnet(model, data, crop, base_size, steps)
    _rotate_and_blur(c)
    c.optim.momentum_form = "pytorch"
    c.optim.rules = ((_NEW, 10.0, 1.0),)
    c.eval.fusion = "semseg"
    return c


def _pspnet(model, data, crop, base_size, steps) -> ml_collections.ConfigDict:
    """The common part: 16 crops, poly 0.9, and the published auxiliary loss weight of 0.4."""
    c = default_config()
    c.model.name = model
    c.data.name = data
    c.augment.crop = (crop, crop)
    c.augment.scale = (0.5, 2.0)
    c.augment.flip = 0.5
    c.augment.padding = "centre"
    c.train.steps = steps
    c.train.batch_size = 16
    c.optim.name = "sgd"
    c.optim.lr = 0.01
    c.optim.schedule = "poly"
    c.optim.power = 0.9
    c.optim.momentum = 0.9
    c.optim.weight_decay = 1e-4
    c.eval.protocol = "sliding"
    c.eval.crop = (crop, crop)
    c.eval.base_size = base_size
    c.eval.flip = True
    return c


def _rotate_and_blur(c: ml_collections.ConfigDict) -> None:
    c.augment.rotation = 10.0
    c.augment.rotation_probability = 0.5
    c.augment.blur = 0.5


def _smoke(c: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Changes `c` to a narrow network on scenes."""
    on_scenes(c, steps=30, size=(65, 65))
    c.model.name = "pspnet_resnet50"
    c.model.width = 0.05
    c.augment.crop = c.eval.crop = (65, 65)
    c.train.batch_size = 8
    c.eval.base_size = 97
    return c
