"""FCN's solvers on PASCAL VOC: the released one, with a mean over pixels, and the CVPR paper's."""

import ml_collections

from jaxseg.config import default_config
from jaxseg.config.recipes.variants import on_scenes

VOC_PIXELS = 500 * 375
"""Number of pixels of the most common image size in VOC."""


def fcn_heavy(model: str, lr: float) -> ml_collections.ConfigDict:
    """FCN on PASCAL VOC by the solver of the released "heavy" models (FCN on VGG16).

    A step uses one unchanged image, drawn with replacement from SBD's training list. The loss is
    summed over its pixels, and the momentum is 0.99. Biases have twice the learning rate and no
    decay. The evaluation uses the 736 images of seg11valid.

    Args:
      model: name of the network.
      lr: the learning rate for a sum over about 187,500 pixels: 1e-10 or less.
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
    """Changes `c`, a heavy recipe, to a mean over pixels, with matching rate and decay.

    For an image of exactly `pixels` labelled pixels, the step is the same: the gradient of the sum
    is `pixels` times that of the mean, so the rate must be larger by this factor, and the decay,
    which the rate also multiplies, smaller. An image with n labelled pixels has `pixels / n` times
    its weight in the sum: all images have equal weight, instead of all pixels.
    """
    c.loss.reduction = "mean"
    c.optim.lr = c.optim.lr * pixels
    c.optim.weight_decay = c.optim.weight_decay / pixels
    return c


def fcn_cvpr(model: str, lr: float, steps: int) -> ml_collections.ConfigDict:
    """FCN on PASCAL VOC by the solver of the CVPR paper (section 4.3).

    Twenty whole images per step, momentum 0.9, upsampling before fusion learned from a bilinear
    start. The paper does not state the normalisation of the loss; its rates are those of a mean.
    Images are padded to 500×500, VOC's largest size, with ignored labels, and processed one after
    the other. As in the release for VGG16, the first upsampling has a bias.

    Args:
      model: name of the network.
      lr: the learning rate.
      steps: number of steps; 175 epochs are 74,375.
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
    """Changes `c`, an FCN recipe, to a narrow network on scenes.

    Without the 100 zeros of padding, the network preserves the size of the scenes.

    Args:
      c: the recipe.
      lr: the learning rate, larger than published because the weights are random.
      steps: number of steps.
      size: size of the scenes.
    """
    on_scenes(c, steps, size)
    c.model.width = 0.1
    if "googlenet" in c.model.name:
        c.model.width = 0.25  # with less, some branches have two channels, which die
    else:
        c.model.fc_channels = 1024
        c.model.padding = 1
    if c.data.pad_to is not None:
        c.data.pad_to = max(size)
    if c.train.accumulate > 1:
        c.train.batch_size = c.train.accumulate = 4
    c.optim.lr = lr
    return c
