"""FCN's solvers on PASCAL VOC: as released, as a mean over pixels, and the CVPR paper's."""

import ml_collections

from jaxseg.config import default_config
from jaxseg.config.recipes.variants import on_scenes

VOC_PIXELS = 500 * 375
"""Pixels of the commonest size of VOC's images."""


def fcn_heavy(model: str, lr: float) -> ml_collections.ConfigDict:
    """FCN on PASCAL VOC by the solver of the released "heavy" models (FCN on VGG16).

    A step is one whole image as it is, drawn with replacement from SBD's training list; the
    loss is summed over its pixels and the momentum 0.99. Biases learn twice as fast and do not
    decay. Scores are those of the 736 images of seg11valid.

    Args:
      model: the network.
      lr: the learning rate, of a loss that is a sum over some 187,500 pixels: 1e-10 and less.
    """
    c = default_config()
    c.model.name = model
    c.data.name = "voc2012"
    c.data.train_split = "sbd_train"
    c.data.eval_split = "seg11valid"
    c.data.sampling = "replacement"
    c.train.steps = 100_000
    c.train.batch_size = 1
    c.loss.reduction = "sum"
    c.optim.name = "sgd"
    c.optim.lr = lr
    c.optim.momentum = 0.99
    c.optim.weight_decay = 5e-4
    c.optim.rules = (("/bias$", 2.0, 0.0),)
    c.eval.every_steps = 4000
    c.checkpoint.every_steps = 4000
    return c


def fcn_mean(c: ml_collections.ConfigDict, pixels: int = VOC_PIXELS) -> ml_collections.ConfigDict:
    """`c`, a heavy recipe, with a loss that is a mean over pixels: rate and decay to match.

    For an image of exactly `pixels` labelled pixels this is the same step: the sum's gradient
    is `pixels` times the mean's, so the rate is to be that many times larger; the decay, which the
    rate multiplies as well, that many times smaller. An image of n labelled pixels counts
    `pixels / n` times what it does in the sum: every image the same, instead of every pixel.
    """
    c.loss.reduction = "mean"
    c.optim.lr = c.optim.lr * pixels
    c.optim.weight_decay = c.optim.weight_decay / pixels
    return c


def fcn_cvpr(model: str, lr: float, steps: int) -> ml_collections.ConfigDict:
    """FCN on PASCAL VOC by the solver of the CVPR paper (section 4.3).

    Twenty whole images a step, momentum 0.9, upsampling before fusion learned from a bilinear
    start. The paper does not say how the loss is normalised; its rates are those of a mean.
    Images are filled up to 500×500, VOC's largest, with ignored labels, and go through the
    network one after the other. Where it is released for VGG16 the first upsampling has a bias.

    Args:
      model: the network.
      lr: the learning rate.
      steps: 175 epochs are 74,375.
    """
    c = fcn_heavy(model, lr)
    if "vgg16" in model:
        c.model.upsampling = "learned"
        c.model.upscore2_bias = True
    c.data.sampling = "shuffle"
    c.data.pad_to = 500
    c.train.steps = steps
    c.train.batch_size = 20
    c.train.accumulate = 20
    c.loss.reduction = "mean"
    c.optim.momentum = 0.9
    return c


def fcn_on_scenes(
    c: ml_collections.ConfigDict, lr: float, steps: int, size: tuple[int, int] = (64, 64)
) -> ml_collections.ConfigDict:
    """`c`, an FCN, narrow and on scenes; without 100 zeros around them, it keeps their size.

    Args:
      c: the recipe.
      lr: the learning rate, larger than published: nothing has been learnt before.
      steps: how many.
      size: of the scenes.
    """
    on_scenes(c, steps, size)
    c.model.width = 0.1
    if "googlenet" in c.model.name:
        c.model.width = 0.25  # narrower, some of its branches have two channels, and they die
    else:
        c.model.fc_channels = 1024
        c.model.padding = 1
    if c.data.pad_to is not None:
        c.data.pad_to = max(size)
    if c.train.accumulate > 1:
        c.train.batch_size = c.train.accumulate = 4
    c.optim.lr = lr
    return c
