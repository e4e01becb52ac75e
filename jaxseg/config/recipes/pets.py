"""The Oxford-IIIT Pets from tensorflow-datasets, for each of the three networks."""

from collections.abc import Mapping
from typing import Any

import ml_collections

from jaxseg.config.defaults import default_config
from jaxseg.config.fields import set_field
from jaxseg.config.recipes.variants import chosen

Fields = Mapping[str, Any]
"""Fields of a config by dotted name."""


def pets(
    variant: str,
    network: Fields,
    *,
    small: Fields,
    pretrained: Fields,
    size: int = 256,
    crop: int = 224,
) -> ml_collections.ConfigDict:
    """The common variants of the pets recipes.

    Args:
      variant: "small" for two CPU cores, "full" (published width) for a GPU, or "pretrained", which
        is `full` from published weights.
      network: fields of the network in all variants.
      small: additional fields of the small variant.
      pretrained: additional fields of the pretrained variant.
      size: height and width to which the images, which have many sizes, are resized.
      crop: height and width of the crops.
    """
    c = default_config()
    c.data.name = "tfds"
    c.data.tfds_name = "oxford_iiit_pet"
    c.data.eval_split = "test"
    c.augment.flip = 0.5
    c.augment.scale = (0.8, 1.25)
    c.augment.brightness = c.augment.contrast = c.augment.saturation = 0.3
    c.augment.resize = c.eval.input_size = (size, size)
    c.augment.crop = (crop, crop)
    c.optim.name = "adamw"
    c.optim.lr = 2e-3
    c.optim.schedule = "poly"
    c.optim.warmup_steps = 50
    c.optim.weight_decay = 1e-2
    c.optim.rules = (("bias|/bn/", 1.0, 0.0),)
    _set(c, network)
    return chosen(
        variant,
        {
            "small": lambda: _set(_small(c), small),
            "full": lambda: _full(c),
            "pretrained": lambda: _set(_pretrained(_full(c)), pretrained),
        },
    )


def _small(c: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    c.data.eval_split = "test[:500]"
    c.train.steps = 1400
    c.train.batch_size = 8
    c.eval.every_steps = 700
    return c


def _full(c: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    c.model.dtype = "bfloat16"
    c.optim.lr = 5e-4
    c.train.epochs = 60.0
    c.train.batch_size = 16
    c.eval.every_steps = 2000
    return c


def _pretrained(c: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    c.optim.lr = 1e-4
    c.train.epochs = 20.0
    return c


def _set(c: ml_collections.ConfigDict, fields: Fields) -> ml_collections.ConfigDict:
    for name, value in fields.items():
        set_field(c, name, value)
    return c
