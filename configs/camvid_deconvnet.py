"""DeconvNet on CamVid, from random weights: 11 classes, 367 training and 101 validation images.

python -m jaxseg.main --config configs/camvid_deconvnet.py --config.data.root=DIR
python -m jaxseg.main --config configs/camvid_deconvnet.py:full --config.data.root=DIR

Sizes are multiples of 32, which the network requires.
"""

from jaxseg.config import default_config
from jaxseg.errors import InputError, nearest


def get_config(variant: str = "small"):
    """The recipe: `small` for two CPU cores, `full` (published width) for a GPU."""
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
    if variant == "small":
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
        raise InputError(f"There is no variant '{variant}'.", nearest(variant, ("small", "full")))
    return c
