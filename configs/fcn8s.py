"""FCN-8s on PASCAL VOC 2012 (Long, Shelhamer, Darrell 2015), by the solver of the released models.

    python -m jaxseg.main --config configs/fcn8s.py --config.data.root=VOCdevkit/VOC2012

Batch of one whole image, momentum 0.99, loss summed over pixels, learning rate 1e-14 (biases twice,
without decay), 100,000 steps, each image drawn from all 8,498 of SBD's training list, no
augmentation. The released network reached 65.5 mean IoU on the 736 images of seg11valid; it started
from FCN-16s, which started from FCN-32s, which started from an ImageNet VGG16. The learning rate is
made for such a start: from random weights it learns nothing. SBD (benchmark_RELEASE) and VOC2011's
lists are to lie beside VOC2012; without them, --config.data.train_split=train and
--config.data.eval_split=val take VOC's own.
"""

from jaxseg.config import default_config


def get_config():
    """The recipe."""
    c = default_config()
    c.model.name = "fcn8s_vgg16"
    c.data.name = "voc2012"
    c.data.train_split = "sbd_train"
    c.data.eval_split = "seg11valid"
    c.data.sampling = "replacement"
    c.train.steps = 100_000
    c.train.batch_size = 1
    c.loss.reduction = "sum"
    c.optim.name = "sgd"
    c.optim.lr = 1e-14
    c.optim.momentum = 0.99
    c.optim.weight_decay = 5e-4
    c.optim.rules = (("/bias$", 2.0, 0.0),)
    c.eval.every_steps = 4000
    c.checkpoint.every_steps = 4000
    return c
