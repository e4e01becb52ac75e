"""Checks the training labels before the first step; rejects labels without information."""

import contextlib
import itertools
from collections.abc import Iterator

import numpy as np

from jaxseg.data.counts import present_values
from jaxseg.data.frequencies import Frequencies
from jaxseg.data.mask_palettes import Palettes
from jaxseg.data.masks import palette_of, read_stored
from jaxseg.data.source import Source, mask_file, photo_file
from jaxseg.data.upright import Disagreement
from jaxseg.errors import InputError
from jaxseg.utils.spread import evenly_spread

SAMPLE = 64  # number of examples checked, evenly spread


def first_look(
    source: Source, eval_source: Source | None = None, sample: int = SAMPLE
) -> list[str]:
    """Counts the classes in a sample of a training split.

    If the sample has fewer than two classes, further examples are read until a second class is
    found. An unreadable file is skipped here; training reports or skips it.

    Args:
      source: the training split.
      eval_source: the evaluation split.
      sample: maximum number of examples.

    Returns:
      Hints: images of the evaluation that are also trained on; masks with different palettes;
      and, if all examples were read, classes that never occur.

    Raises:
      InputError: no pixel is labelled, all labelled pixels have one class, an image and its mask
        disagree on their EXIF orientation, or the masks number their colours differently.
    """
    info, counts = source.info, Frequencies(source.info.num_classes)
    for number, index in enumerate(_spread(len(source), sample)):
        if number >= sample and np.count_nonzero(counts.pixels) > 1:
            break
        try:
            counts.add(source[index].label)
        except Disagreement:
            raise
        except InputError:
            continue
    hints = [f"hint: {note}" for note in getattr(source, "notes", ())]
    hints += _look_at_splits(source, eval_source)
    hints += _look_at_palettes(source, sample)
    found = [name for name, n in zip(info.class_names, counts.pixels, strict=True) if n]
    if not counts.images or len(found) > 1:
        absent = [name for name in info.class_names if name not in found]
        all_seen = counts.images == len(source)
        hints += [f"hint: no training image has the class {name!r}" for name in absent if all_seen]
        return hints
    names = f"the {counts.images} training masks of '{info.name}'"
    if not found:
        raise InputError(
            f"Every pixel of {names} is ignored.",
            "Label some pixels, or set config.data.mask_values; `python -m jaxseg check` names "
            "each file.",
        )
    if counts.ignored and info.num_classes == 2:
        raise InputError(
            f"All labelled pixels of {names} are {found[0]!r}; the others are "
            f"{info.ignore_label}, which means ignore.",
            "If 255 is the second class, set config.data.mask_values='binary'.",
        )
    raise InputError(
        f"All labelled pixels of {names} have one class, {found[0]!r}.",
        "Give masks with two or more classes; `python -m jaxseg check` names each file.",
    )


def _look_at_splits(source: Source, eval_source: Source | None) -> list[str]:
    """A hint if files of the training split are also in the evaluation split."""
    if eval_source is None or photo_file(source, 0) is None:
        return []
    trained = {photo_file(source, index) for index in range(len(source))}
    files = [photo_file(eval_source, index) for index in range(len(eval_source))]
    both = [file for file in files if file is not None and file in trained]
    if not both:
        return []
    return [
        f"hint: {len(both)} of {len(files)} evaluation images are also training images, such as "
        f"{both[0]}: the metrics are too high"
    ]


def _look_at_palettes(source: Source, sample: int) -> list[str]:
    """A hint if the palettes of masks contradict each other; InputError if that is certain."""
    palettes = Palettes()
    for index in itertools.islice(_spread(len(source), sample), sample):
        path = mask_file(source, index)
        if path is not None and (palette := palette_of(path)) is not None:
            with contextlib.suppress(InputError):  # training reports or skips it
                palettes.add(path, present_values(read_stored(path)), palette)
    if palettes.conflict is None:
        return []
    if palettes.certain:
        raise palettes.conflict
    return [f"hint: {palettes.conflict}"]


def _spread(count: int, sample: int) -> Iterator[int]:
    """The indices of an evenly spread sample, then all others."""
    sampled = dict.fromkeys(evenly_spread(count, sample))
    yield from sampled
    yield from (index for index in range(count) if index not in sampled)
