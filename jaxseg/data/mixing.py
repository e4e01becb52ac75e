"""Pastes classes of one example into another: ClassMix, and copy-paste of rare classes."""

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections
import numpy as np

from jaxseg.data.augment import Augment
from jaxseg.data.source import DataInfo, Example, Source, kind_of
from jaxseg.errors import InputError, nearest
from jaxseg.utils.image_kind import RGB
from jaxseg.utils.spread import evenly_spread

LOOKED_AT = 2000
"""Maximum number of masks searched for given classes, evenly spread over the training images."""

Augmentation = Callable[[Example, np.random.Generator], Any]
"""Maps (example, rng) to an `Example` or a `Planned`."""


def augmentation(
    config: ml_collections.ConfigDict, source: Source, fill: Sequence[float]
) -> Augmentation:
    """The complete augmentation of a run's training examples.

    Args:
      config: a run's `config.augment`.
      source: the training split; with `mix_classes`, its masks are searched.
      fill: colour outside an image, one number per channel.

    Raises:
      InputError: a value is out of its range, or there is no such class.
    """
    fields = {k: v for k, v in config.items() if k not in ("mix", "mix_classes", "on_device")}
    augment = Augment(**fields, fill=tuple(fill), ignore_label=source.info.ignore_label)
    if config.on_device:
        _check_on_device(config, source)
        return augment.planned
    if not config.mix:
        if config.mix_classes:
            raise InputError(
                f"config.augment.mix_classes is {config.mix_classes}, but augment.mix is 0.",
                "Set augment.mix to the probability of pasting classes, such as 0.5.",
            )
        return augment
    if config.crop is None and config.resize is None:
        raise InputError(
            f"config.augment.mix is {config.mix} without augment.crop.",
            "Set a crop: mixed images must have the same size.",
        )
    classes = _numbered(config.mix_classes, source.info)
    among = examples_with(source, classes) if classes else None
    return Mixed(source, augment, config.mix, classes, among)


def _check_on_device(config: ml_collections.ConfigDict, source: Source) -> None:
    """Raises InputError if `config` has an augmentation that devices do not support."""
    for name in ("mix", "noise", "erase", "quarter_turns"):
        if config[name]:
            raise InputError(
                f"config.augment.{name} is {config[name]}, which augment.on_device does not "
                "support.",
                f"Set augment.{name} to 0, or augment.on_device to False.",
            )
    if config.crop is None and config.resize is None:
        raise InputError(
            "config.augment.on_device is True without augment.crop.",
            "Set a crop, or augment.on_device to False.",
        )
    if kind_of(source) != RGB:
        raise InputError(
            f"config.augment.on_device is True, but the images have {kind_of(source)}.",
            "Set augment.on_device to False: devices augment only RGB images of 8 bits.",
        )


class Mixed:
    """Augments an example; with a probability, pastes pixels and labels of another one into it.

    The other example is drawn from all, or from `among`, and augmented separately. Half of its
    classes, rounded up and drawn at random, are pasted (ClassMix, Olsson et al. 2021); or those in
    `classes`, if it has them (copy-paste). Ignored pixels are not pasted.

    Args:
      source: the examples.
      augment: `(example, rng) -> example`; its results have one size.
      probability: probability of pasting.
      classes: numbers of classes; (): half of the classes of the other example.
      among: indices of examples; None: all.

    >>> image = np.zeros((1, 2, 3), np.uint8)
    >>> two = [Example(image + i, np.array([[i, 2]], np.uint8), str(i)) for i in range(2)]
    >>> mixed = Mixed(two, lambda example, rng: example, 1.0, classes=(1,), among=[1])
    >>> mixed(two[0], np.random.default_rng(0)).label
    array([[1, 2]], dtype=uint8)
    """

    def __init__(
        self,
        source: Source,
        augment: Augmentation,
        probability: float,
        classes: Sequence[int] = (),
        among: Sequence[int] | None = None,
    ):
        self._source, self._augment, self._probability = source, augment, probability
        self._classes, self._among = tuple(classes), among

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Augments and mixes an example, as a function of the example and `rng` only."""
        own = self._augment(example, rng)
        if rng.random() >= self._probability:
            return own
        count = len(self._source) if self._among is None else len(self._among)
        drawn = int(rng.integers(count))
        index = drawn if self._among is None else self._among[drawn]
        other = self._augment(self._source[index], rng)
        laid = np.isin(other.label, self._chosen(other.label, rng))
        image = np.where(laid[..., None], other.image, own.image)
        return Example(image, np.where(laid, other.label, own.label), own.name)

    def _chosen(self, label: np.ndarray, rng: np.random.Generator) -> Sequence[int] | np.ndarray:
        if self._classes:
            return self._classes
        counts = np.bincount(label.ravel(), minlength=256)[: self._source.info.num_classes]
        present = rng.permutation(np.flatnonzero(counts))
        return present[: -(-len(present) // 2)]


def examples_with(source: Source, classes: Sequence[int], threads: int = 4) -> list[int]:
    """The examples with a pixel of one of `classes`, among up to `LOOKED_AT` of them.

    Raises:
      InputError: there is none.
    """

    def has(index: int) -> bool:
        try:
            return bool(np.isin(source[index].label, classes).any())
        except InputError:  # training reports or skips the file
            return False

    looked_at = list(evenly_spread(len(source), LOOKED_AT))
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        found = [i for i, there in zip(looked_at, pool.map(has, looked_at), strict=True) if there]
    if not found:
        names = ", ".join(source.info.class_names[i] for i in classes)
        raise InputError(
            f"No training image contains a class of config.augment.mix_classes ({names}).",
            "List classes that occur; `python -m jaxseg check` counts them.",
        )
    return found


def _numbered(names: Sequence[str], info: DataInfo) -> list[int]:
    for name in names:
        if name not in info.class_names:
            raise InputError(
                f"config.augment.mix_classes contains '{name}', which is not a class of "
                f"'{info.name}'.",
                nearest(str(name), info.class_names),
            )
    return [info.class_names.index(name) for name in names]
