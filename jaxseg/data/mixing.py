"""Classes of one example laid over another: ClassMix, and copy-paste of rare classes."""

import concurrent.futures
from collections.abc import Callable, Sequence

import ml_collections
import numpy as np

from jaxseg.data.augment import Augment
from jaxseg.data.source import DataInfo, Example, Source
from jaxseg.errors import InputError, nearest
from jaxseg.utils.spread import evenly_spread

LOOKED_AT = 2000
"""Masks that are looked at for given classes at most, evenly spread over the training images."""

Augmentation = Callable[[Example, np.random.Generator], Example]


def augmentation(
    config: ml_collections.ConfigDict, source: Source, fill: Sequence[float]
) -> Augmentation:
    """All that a run does to its training examples, in the order in which it is done.

    Args:
      config: a run's `config.augment`.
      source: its training split; with `mix_classes` its masks are looked at.
      fill: the colour outside an image, a number for each channel.

    Raises:
      InputError: a value is out of its range, or there is no such class.
    """
    fields = {k: v for k, v in config.items() if k not in ("mix", "mix_classes")}
    augment = Augment(**fields, fill=tuple(fill), ignore_label=source.info.ignore_label)
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


class Mixed:
    """Augments an example; then, sometimes, lays pixels of another one over it, with their labels.

    The other one is drawn from all, or from `among`, and augmented by itself. Of the classes in it
    half are laid over, rounded up and drawn anew each time (ClassMix, Olsson et al. 2021); or those
    in `classes`, wherever they are (copy-paste). Ignored pixels are left behind.

    Args:
      source: the examples.
      augment: `(example, rng) -> example`, of one size.
      probability: how often.
      classes: numbers of classes; (): half of those that are there.
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
        """The example, augmented and mixed: a function of the example and `rng` alone."""
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
    """The examples of which the mask has one of `classes`, among up to `LOOKED_AT` of them.

    Raises:
      InputError: there is none.
    """

    def has(index: int) -> bool:
        try:
            return bool(np.isin(source[index].label, classes).any())
        except InputError:  # the training names it, or skips it
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
