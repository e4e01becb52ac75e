"""DeconvNet on CamVid, from random weights: 11 classes, 367 training and 101 validation images.

python -m jaxseg.main --config configs/camvid_deconvnet.py --config.data.root=DIR
python -m jaxseg.main --config configs/camvid_deconvnet.py:long --config.data.root=DIR \\
  --config.init.pretrained=RUN
python -m jaxseg.main --config configs/camvid_deconvnet.py:full --config.data.root=DIR

RUN is the workdir of `camvid_fcn8s.py:first`, whose VGG16 the second command starts from. In the
paper it is one trained on ImageNet (section 4.2).

Sizes are multiples of 32, which the network requires.
"""

from jaxseg.config import default_config
from jaxseg.config.recipes.camvid import paste_rare_classes, vary
from jaxseg.errors import InputError, nearest


def get_config(variant: str = "small"):
    """The recipe: `small` for two CPU cores, `full` (published width) for a GPU.

    `long`, also for two cores, is wider than `small` and starts from a trained VGG16.
    """
    c = default_config()
    c.data.name = "camvid"  # in its published layout, or in VOC layout
    c.data.cache = True
    c.model.name = "deconvnet_vgg16"
    c.model.bn_epsilon = 1e-5
    c.model.decoder_init = "smoothing"
    c.augment.flip = 0.5
    c.optim.name = "adamw"
    c.optim.lr = 2e-3
    c.optim.schedule = "poly"
    c.optim.warmup_steps = 50
    c.optim.weight_decay = 1e-2
    c.optim.rules = (("bias|/bn/", 1.0, 0.0),)
    # fourth roots of the training split's median-frequency weights: moderate weights for rare
    # classes
    c.loss.class_weights = (0.73, 0.67, 1.48, 0.63, 1.0, 0.81, 1.4, 1.19, 0.94, 1.59, 1.72)
    if variant in ("small", "long"):
        c.model.width = 0.25
        c.model.fc_channels = 2048  # 512 with this width
        # With 1, the sums in fc6-deconv do not depend on the size of the map; a larger window
        # would read more cells in a whole image than in a crop.
        c.model.fc_kernel = 1
        c.augment.crop = (192, 256)
        c.augment.scale = (0.7, 1.2)  # large relative to the bottleneck's cells of 32 pixels
        c.optim.lr = 4e-3
        c.train.steps = 1200
        c.train.batch_size = 8
        c.eval.input_size = (352, 480)
        c.eval.every_steps = 400
        if variant == "long":
            _long(c)
    elif variant == "full":
        c.model.dtype = "bfloat16"
        c.augment.crop = (352, 480)
        c.augment.scale = (0.75, 1.5)
        c.train.steps = 10000
        c.train.batch_size = 16
        c.optim.lr = 5e-4
        c.eval.input_size = (352, 480)  # the size of the crops: see fc_kernel above
        c.eval.every_steps = 1000
    else:
        raise InputError(
            f"There is no variant '{variant}'.", nearest(variant, ("small", "long", "full"))
        )
    return c


def _long(c):
    c.model.width = 0.375  # that of camvid_fcn8s.py
    c.augment.scale = (0.5, 1.5)
    vary(c.augment)
    paste_rare_classes(c.augment)
    c.optim.lr = 2e-3
    c.optim.weight_decay = 2e-2
    c.optim.warmup_steps = 100
    c.optim.rules = (
        ("/conv._.*(bias|/bn/)", 0.3, 0.0),  # the trained VGG16 learns more slowly
        ("/conv._", 0.3, 1.0),
        *c.optim.rules,
    )
    c.optim.ema = 0.998
    c.train.steps = 1000
    c.eval.every_steps = None
    c.eval.batch_size = 1
