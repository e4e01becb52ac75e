"""Shared parts of the recipes in `configs/`."""

from jaxseg.config.recipes.fcn import fcn_cvpr, fcn_heavy, fcn_mean, fcn_on_scenes
from jaxseg.config.recipes.pets import pets
from jaxseg.config.recipes.pspnet import pspnet
from jaxseg.config.recipes.variants import chosen, on_scenes

__all__ = [
    "chosen",
    "fcn_cvpr",
    "fcn_heavy",
    "fcn_mean",
    "fcn_on_scenes",
    "on_scenes",
    "pets",
    "pspnet",
]
