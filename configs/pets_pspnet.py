"""PSPNet on the Oxford-IIIT Pets: 3 classes, 3,680 training images, 3,669 to score on.

python -m jaxseg.main --config configs/pets_pspnet.py
python -m jaxseg.main --config configs/pets_pspnet.py:full
python -m jaxseg.main --config configs/pets_pspnet.py:pretrained

The data set (800 MB) comes by itself, through tensorflow-datasets. Its masks are trimaps: pet,
background, and the border between. `--config.data.ignore_label=3` ignores the border and leaves two
classes.
"""

from jaxseg.config import default_config
from jaxseg.errors import InputError, nearest

_VARIANTS = ("small", "full", "pretrained")


def get_config(variant: str = "small"):
    """The recipe: `small` for two CPU cores, `full` (published width) for a GPU.

    `pretrained` is `full` from published weights, which are downloaded once.
    """
    c = default_config()
    c.data.name = "tfds"
    c.data.tfds_name = "oxford_iiit_pet"
    c.data.eval_split = "test"
    c.model.name = "pspnet_resnet50"
    c.augment.flip = 0.5
    c.augment.scale = (0.8, 1.25)
    c.augment.brightness = c.augment.contrast = c.augment.saturation = 0.3
    c.augment.resize = c.eval.input_size = (257, 257)  # images have many sizes
    c.augment.crop = (225, 225)
    c.optim.name = "adamw"
    c.optim.lr = 2e-3
    c.optim.schedule = "poly"
    c.optim.warmup_steps = 50
    c.optim.weight_decay = 1e-2
    c.optim.rules = (("bias|/bn/", 1.0, 0.0),)
    if variant == "small":
        c.model.width = 0.25
        c.optim.lr = 4e-3
        c.data.eval_split = "test[:500]"
        c.train.steps = 1400
        c.train.batch_size = 8
        c.eval.every_steps = 700
    elif variant in ("full", "pretrained"):
        c.model.dtype = "bfloat16"
        c.optim.lr = 5e-4
        c.train.epochs = 60.0
        c.train.batch_size = 16
        c.eval.every_steps = 2000
    else:
        raise InputError(f"There is no variant '{variant}'.", nearest(variant, _VARIANTS))
    if variant == "pretrained":
        c.init.pretrained = "resnet50_imagenet"
        c.model.stem = "7x7"  # as that network has it
        c.optim.lr = 1e-4
        c.train.epochs = 20.0
    return c
