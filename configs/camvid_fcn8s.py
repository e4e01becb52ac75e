"""FCN-8s on CamVid, from random weights: 11 classes, 367 training and 101 validation images.

python -m jaxseg.main --config configs/camvid_fcn8s.py --config.data.root=DIR
python -m jaxseg.main --config configs/camvid_fcn8s.py:long --config.data.root=DIR
python -m jaxseg.main --config configs/camvid_fcn8s.py:full --config.data.root=DIR
"""

import copy

from jaxseg.config import default_config
from jaxseg.config.recipes.camvid import paste_rare_classes, vary
from jaxseg.errors import InputError, nearest


def get_config(variant: str = "small"):
    """The recipe: `small` for two CPU cores, `full` (published width and input size) for a GPU.

    `long` trains the network of `small` with larger crops and more augmentation, in the stages
    `first` (80 minutes) and `longer` (two hours).
    """
    c = default_config()
    c.data.name = "camvid"  # in its published layout, or in VOC layout
    c.data.cache = True
    c.model.norm = "batch"
    c.model.padding = 1
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
        _narrow(c)
        c.augment.crop = (180, 240)
        c.augment.scale = (0.5, 1.0)
        c.train.steps = 1400
        c.eval.input_size = (270, 360)
        c.eval.every_steps = 350
    elif variant == "long":
        return [(name, stage(c)) for name, stage in _STAGES.items()]
    elif variant in _STAGES:
        return _STAGES[variant](c)
    elif variant == "full":
        c.model.dtype = "bfloat16"
        c.augment.crop = (360, 480)
        c.augment.scale = (0.75, 1.5)
        c.train.steps = 10000
        c.train.batch_size = 16
        c.optim.lr = 5e-4
        c.eval.every_steps = 1000
    else:
        variants = ("small", "long", *_STAGES, "full")
        raise InputError(f"There is no variant '{variant}'.", nearest(variant, variants))
    return c


def _narrow(c):
    c.model.width = 0.375
    c.model.fc_channels = 1024
    c.model.dropout = 0.1
    c.train.batch_size = 8


def _first(c):
    c = copy.deepcopy(c)
    _narrow(c)
    c.augment.crop = (240, 320)
    c.augment.scale = (0.5, 2.0)
    vary(c.augment)
    paste_rare_classes(c.augment)
    c.optim.weight_decay = 2e-2
    c.optim.warmup_steps = 100
    c.optim.ema = 0.998
    c.train.steps = 2000
    c.eval.batch_size = 1
    return c


def _longer(c):
    """From the weights of the first stage."""
    c = _first(c)
    c.optim.lr = 1.5e-3
    c.train.steps = 2400
    return c


_STAGES = {"first": _first, "longer": _longer}
