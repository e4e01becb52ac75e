"""Batches by number: their examples, order, and array sizes."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxseg.data.augment import resize_image
from jaxseg.data.image_file import large_alone
from jaxseg.data.plan import Plan, Planned
from jaxseg.data.source import Example, Source, kind_of
from jaxseg.errors import InputError

_FAR = 1_000_000_007  # number of positions from a skipped example to its replacement
_TRIES = 100
_DEVICE_PAD = 64  # sides of images for devices are multiples, so that few sizes are compiled


class Batch(NamedTuple):
    """One process's part of a batch: b examples in arrays of one size.

    Attributes:
      step: number of the batch, from 0; in training, the number of earlier steps.
      image: uint8 [b, h, w, 3], RGB; other kinds of images have their own dtype and channels.
      label: uint8 [b, H, W], of the same size unless images were resized.
      names: names of the b examples; "" for padding.
      indices: evaluation: int64 [b], positions in the source, -1 for padding; empty in training.
      skipped: training: errors of the examples that were replaced.
      plan: with `augment.on_device`, the augmentation that the devices apply to the images. Each
        image then has its original size, and is in the upper left corner. Otherwise None.
    """

    step: int
    image: np.ndarray
    label: np.ndarray
    names: Sequence[str]
    indices: np.ndarray = np.empty(0, np.int64)
    skipped: Sequence[InputError] = ()
    plan: Plan | None = None


class ByPosition(Protocol):
    """A sequence with a value for every position of a run, practically infinite."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Any: ...


class TrainBatches:
    """The training batches of one process.

    Args:
      source: the data set.
      order: index in `source` of each position 0, 1, ... of the run.
      examples: augmented example of each position.
      batch_size: examples in a batch, over all processes.
      part: slots of a batch that belong to this process.
      start_step: number of the first batch.
      pad_to: height and width of a batch are multiples of this number; None: no padding.
      fill: colour (r, g, b) around an image that is smaller than its batch.
      skip: whether to replace an unreadable example by the one at a position a billion later.
    """

    def __init__(
        self,
        source: Source,
        order: ByPosition,
        examples: ByPosition,
        *,
        batch_size: int,
        part: slice,
        start_step: int,
        pad_to: int | None,
        fill: tuple[float, ...],
        skip: bool,
    ):
        self._source, self._order, self._examples = source, order, examples
        self._fill = fill
        self._batch_size, self._part, self._start = batch_size, part, start_step
        self._pad_to, self._skip = pad_to, skip

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size - self._start  # practically infinite

    def __getitem__(self, index: int) -> Batch:
        first = (self._start + index) * self._batch_size
        size = None
        if self._pad_to:
            size = self._padded(range(first, first + self._batch_size), self._pad_to)
        bad: list[InputError] = []
        examples = [
            self._example(first + slot, size, bad)
            for slot in range(self._part.start, self._part.stop)
        ]
        plan = None
        if isinstance(examples[0], Planned):
            plan = Plan.of_batch([e.plan for e in examples])
            images = self._in_one_array(examples, first)
            labels = np.stack([e.label for e in examples])
        elif size is None:
            _check_common_size(examples)
            images = np.stack([e.image for e in examples])
            labels = np.stack([e.label for e in examples])
        else:
            like = examples[0].image
            images = np.empty((len(examples), *size, like.shape[2]), like.dtype)
            images[:] = self._fill
            labels = np.full((len(examples), *size), self._source.info.ignore_label, np.uint8)
            for slot, (image, label, _) in enumerate(examples):
                images[slot, : image.shape[0], : image.shape[1]] = image
                labels[slot, : label.shape[0], : label.shape[1]] = label
        names = [e.name for e in examples]
        return Batch(self._start + index, images, labels, names, skipped=bad, plan=plan)

    def _in_one_array(self, examples: Sequence[Planned], first: int) -> np.ndarray:
        """Images of several sizes, each in the upper left corner; all processes use one size."""
        whole = len(examples) == self._batch_size
        largest = (max(side) for side in zip(*(e.image.shape[:2] for e in examples), strict=True))
        height, width = (
            round_up(tuple(largest), _DEVICE_PAD)
            if whole
            else self._padded(range(first, first + self._batch_size), _DEVICE_PAD)
        )
        images = np.zeros((len(examples), height, width, 3), np.uint8)
        for slot, example in enumerate(examples):
            rows, columns = example.image.shape[:2]
            if rows > height or columns > width:  # it replaces a skipped example
                raise InputError(
                    f"'{example.name}' replaces an unreadable image and is larger than the images "
                    "of its batch.",
                    "Remove unreadable images, or set config.augment.on_device to False.",
                )
            images[slot, :rows, :columns] = example.image
        return images

    def _example(
        self, position: int, size: tuple[int, int] | None, bad: list[InputError]
    ) -> Example:
        """The example at `position`, or a replacement; `bad` receives the errors."""
        if not self._skip:
            with large_alone():
                return self._examples[position]
        for attempt in range(_TRIES):
            try:
                with large_alone():
                    example = self._examples[position + attempt * _FAR]
            except Exception as error:
                cause = input_error_in(error)
                if cause is None:
                    raise
                bad.append(cause)
                continue
            if size is None or all(n <= m for n, m in zip(example.label.shape, size, strict=True)):
                return example
        raise InputError(
            f"{_TRIES} examples in a row are bad or too large for their batch. The first problem: "
            f"{bad[0].problem}",
            "Run `python -m jaxseg check` to list all bad examples.",
        )

    def _padded(self, positions: Iterable[int], multiple: int) -> tuple[int, int]:
        """The common size of the examples of all processes, so that all use the same."""
        sizes = []
        for position in positions:
            try:
                sizes.append(self._source.size(int(self._order[position])))
            except InputError:
                if not self._skip:
                    raise
        sizes = sizes or [(1, 1)]
        return round_up((max(h for h, _ in sizes), max(w for _, w in sizes)), multiple)


class EvalBatches:
    """One process's batches with every example exactly once, grouped by size.

    Args:
      source, batch_size, part, pad_to: as above.
      input_size: (height, width) to which images are resized; None: no resize.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        part: slice,
        input_size: tuple[int, int] | None,
        pad_to: int | None,
    ):
        self._source, self._input_size = source, input_size
        groups: dict[tuple[int, int], list[int]] = {}
        for index in range(len(source)):
            groups.setdefault(round_up(source.size(index), pad_to), []).append(index)
        self._batches = []  # pairs of size and this process's indices
        for size, members in sorted(groups.items()):
            for first in range(0, len(members), batch_size):
                batch = members[first : first + batch_size]
                self._batches.append((size, (batch + [-1] * (batch_size - len(batch)))[part]))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        size, indices = self._batches[index]
        kind = kind_of(self._source)
        shape = len(indices), *(self._input_size or size), kind.channels
        images = np.zeros(shape, kind.dtype)
        labels = np.full((len(indices), *size), self._source.info.ignore_label, np.uint8)
        for slot, position in enumerate(indices):
            if position >= 0:
                image, label, _ = self._source[position]
                image = resize_image(image, self._input_size)
                images[slot, : image.shape[0], : image.shape[1]] = image
                labels[slot, : label.shape[0], : label.shape[1]] = label
        names = [self._source.name(i) if i >= 0 else "" for i in indices]
        return Batch(index, images, labels, names, np.array(indices, np.int64))


class WithReplacement:
    """Draws an index in 0..count-1 for each position, as a function of (seed, position) only."""

    def __init__(self, count: int, seed: int):
        self._count, self._seed = count, seed

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, position: int) -> int:
        return int(np.random.default_rng((self._seed, position)).integers(self._count))


class Ordered:
    """The examples of `source` in the order of the indices in `order`."""

    def __init__(self, source: Source, order: ByPosition):
        self._source, self._order = source, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> Example:
        return self._source[self._order[position]]


def round_up(size: tuple[int, int], multiple: int | None) -> tuple[int, int]:
    """The smallest multiples of `multiple` that are at least `size`; None: `size` itself.

    >>> round_up((375, 500), 64)
    (384, 512)
    """
    if multiple is None:
        return size
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def batch_shapes(source: Source, pad_to: int | None, batch_size: int = 1) -> int:
    """The maximum number of different shapes of batches of whole images; each is compiled once.

    Raises:
      InputError: a file's header cannot be read.
    """
    sizes = {round_up(source.size(index), pad_to) for index in range(len(source))}
    if batch_size == 1:
        return len(sizes)
    return len({h for h, _ in sizes}) * len({w for _, w in sizes})


def input_error_in(error: BaseException | None) -> InputError | None:
    """The InputError that `error` is or wraps; None if there is none."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def _check_common_size(examples: Sequence[Example]) -> None:
    sizes = {e.label.shape: e.name for e in examples}
    if len(sizes) > 1:
        (one, a), (other, b), *_ = sizes.items()
        raise InputError(
            f"'{a}' is {one[1]} wide and {one[0]} high, '{b}' is {other[1]} wide and {other[0]} "
            "high, so they do not fit into one batch.",
            "Set config.augment.crop or config.data.pad_to, or config.train.batch_size to 1.",
        )
