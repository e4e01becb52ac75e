"""Config fields whose numbers depend on the data: epochs and class weights."""

import concurrent.futures
import math
import pathlib
from collections.abc import Callable

import ml_collections
import numpy as np

from jaxseg.config import load_config
from jaxseg.data import Source
from jaxseg.data.counts import value_counts
from jaxseg.data.frequencies import Frequencies
from jaxseg.errors import InputError
from jaxseg.utils.spread import evenly_spread

MASKS = 2000
"""Maximum number of masks counted for class weights, evenly spread over the training images."""

_RULES: dict[str, Callable[[Frequencies], tuple[float, ...]]] = {
    "auto": Frequencies.median_frequency,
    "enet": Frequencies.enet,
    "sqrt": lambda counts: tuple(float(f"{w**0.5:.3g}") for w in counts.median_frequency()),
}


def resolved(
    config: ml_collections.ConfigDict, source: Source, say: Callable[[str], object] = print
) -> ml_collections.ConfigDict:
    """Returns the config with numbers for `train.epochs` and for a rule of class weights, and with
    the revision of a data set from the Hub.

    The result depends only on the config and the data, so a resumed run gets the same numbers.

    Args:
      config: the validated config of a run; it is not changed.
      source: the training split.
      say: receives a line for each computed field.

    Raises:
      InputError: the warm-up is longer than the run.
    """
    config = config.copy_and_resolve_references()
    if config.data.hf_revision is None:
        config.data.hf_revision = getattr(source, "revision", None)
    if config.train.epochs is not None and config.train.batch_size:
        steps = max(1, math.ceil(config.train.epochs * len(source) / config.train.batch_size))
        if config.optim.warmup_steps >= steps:
            raise InputError(
                f"Config field optim.warmup_steps is {config.optim.warmup_steps}, but the whole "
                f"run (train.epochs = {config.train.epochs:g}) has {steps} steps.",
                "Lower optim.warmup_steps or raise train.epochs.",
            )
        say(f"{config.train.epochs:g} epochs of {len(source):,} images: {steps:,} steps")
        config.train.steps, config.train.epochs = steps, None
    rule = config.loss.class_weights
    if isinstance(rule, str):
        counts = count_classes(source)
        weights = _RULES[rule](counts)
        parts = zip(source.info.class_names, weights, strict=True)
        say(
            f"class weights {rule!r} of {counts.images:,} masks: "
            + ", ".join(f"{name} {weight:g}" for name, weight in parts)
        )
        with config.loss.ignore_type():  # a string becomes a tuple
            config.loss.class_weights = weights
    return config


def with_revision_of(
    config: ml_collections.ConfigDict, earlier: pathlib.Path
) -> ml_collections.ConfigDict:
    """The config of a resumed run, with the data revision that it started with.

    Args:
      config: config of the run.
      earlier: the config.json in its workdir, which may not exist.
    """
    data = config.data
    if data.name != "hf" or data.hf_revision is not None or not earlier.is_file():
        return config
    before = load_config(earlier).data
    if (before.name, before.hf_name) != (data.name, data.hf_name):
        return config
    config = config.copy_and_resolve_references()
    config.data.hf_revision = before.hf_revision
    return config


def count_classes(source: Source, masks: int = MASKS, threads: int = 4) -> Frequencies:
    """Counts the classes in up to `masks` masks, evenly spread; skips bad files."""
    counts = Frequencies(source.info.num_classes)

    def count(index: int) -> np.ndarray | None:
        try:
            return value_counts(source[index].label)
        except InputError:  # training reports or skips the file
            return None

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for found in pool.map(count, evenly_spread(len(source), masks)):
            if found is not None:
                counts.add_counts(found)
    return counts
