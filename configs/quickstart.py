"""Narrow networks on generated scenes: no data needed, minutes on a laptop.

python -m jaxseg.main --config configs/quickstart.py
python -m jaxseg.main --config configs/quickstart.py:deconvnet
python -m jaxseg.main --config configs/quickstart.py:pspnet

The other variants, fcn32s and fcn16s, are FCN without its finer logits.
"""

from jaxseg.config import default_config
from jaxseg.errors import InputError, nearest

_NETWORKS = {
    "fcn8s": "fcn8s_vgg16",
    "fcn16s": "fcn16s_vgg16",
    "fcn32s": "fcn32s_vgg16",
    "deconvnet": "deconvnet_vgg16",
    "pspnet": "pspnet_resnet50",
}


def get_config(variant: str = "fcn8s"):
    """The recipe of a network."""
    if variant not in _NETWORKS:
        raise InputError(f"There is no variant '{variant}'.", nearest(variant, _NETWORKS))
    c = default_config()
    c.model.name = _NETWORKS[variant]
    c.model.width = 0.25
    if variant == "deconvnet":
        c.model.width = 0.1875
        c.model.fc_channels = 2048
        c.model.fc_kernel = 1  # 7 needs images of at least 224
        c.model.bn_epsilon = 1e-5
        c.model.decoder_init = "smoothing"
    elif variant != "pspnet":
        c.model.fc_channels = 1024
        c.model.norm = "batch"
        c.model.padding = 1
        c.model.dropout = 0.1
    c.data.name = "scenes"
    c.data.scenes_train = 2048
    c.data.cache = True
    c.augment.flip = 0.5
    c.train.steps = 600
    c.train.batch_size = 8
    c.optim.name = "adamw"
    c.optim.lr = 2e-3
    c.optim.schedule = "poly"
    c.optim.warmup_steps = 20
    c.optim.weight_decay = 1e-2
    c.optim.rules = (("bias|/bn/", 1.0, 0.0),)
    c.eval.every_steps = 200
    if variant == "pspnet":
        c.optim.lr = 4e-3
        c.data.scenes_size = (97, 97)  # 8n + 1: the cells cover the first and the last pixel
    if variant == "deconvnet":  # its bottleneck has cells of 32 pixels: it sees enlarged scenes
        c.augment.scale = (5 / 3, 5 / 3)
        c.augment.crop = c.eval.input_size = (160, 160)
        c.optim.lr = 6e-3
        c.train.steps = 1000
        c.eval.every_steps = 500
    return c
