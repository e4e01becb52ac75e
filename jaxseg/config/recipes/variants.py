"""Selects variants of a recipe by name, and creates toy-sized ones."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import ml_collections

from jaxseg.errors import InputError, nearest

T = TypeVar("T")


def chosen(variant: str, variants: Mapping[str, Callable[[], T]]) -> T:
    """Returns the variant with the name `variant`.

    Raises:
      InputError: there is no such variant.

    >>> chosen("b", {"a": lambda: 1, "b": lambda: 2})
    2
    """
    if variant not in variants:
        raise InputError(f"There is no variant '{variant}'.", nearest(variant, variants))
    return variants[variant]()


def on_scenes(
    c: ml_collections.ConfigDict, steps: int, size: tuple[int, int]
) -> ml_collections.ConfigDict:
    """Changes `c` to train on a few generated scenes of (height, width) `size` for `steps`."""
    c.data.name = "scenes"
    c.data.train_split, c.data.eval_split = "train", "val"
    c.data.scenes_train, c.data.scenes_eval, c.data.scenes_size = 64, 8, size
    c.train.steps = steps
    c.eval.every_steps = c.checkpoint.every_steps = None
    c.log.every_steps = 1
    c.log.pictures = 2
    return c
