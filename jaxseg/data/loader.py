"""Batches of a source, in the order that training and evaluation read them.

Both kinds of batch are functions of their number alone, so that any batch of a run can be made
without those before it. Threads or worker processes only make them ahead of time.
"""

import sys
from collections.abc import Callable, Generator

import numpy as np

from jaxseg.data.augment import check_size, resize_image
from jaxseg.data.source import Example, Source
from jaxseg.errors import InputError


def train_batches(
    source: Source,
    *,
    seed: int,
    batch_size: int,
    augment: Callable[[Example, np.random.Generator], Example],
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    workers: int = 0,
    prefetch: int = 4,
) -> Generator[dict]:
    """This process's part of the training batches `start_step`, `start_step + 1`, ... without end.

    The source is shuffled anew in every epoch, and a batch may straddle two epochs. A position
    0, 1, ... of the run decides, with the seed, which example stands there and how it is augmented;
    batch t holds positions t * batch_size to (t + 1) * batch_size - 1. Of these process p gets the
    p-th part, so that the parts in order are the batch of a single process.

    Args:
      source: where examples come from; picklable where `workers` > 0.
      seed: of order and augmentation, 0 or above.
      batch_size: examples in a batch, over all processes.
      augment: `(example, rng) -> example`, such as `Augment`; its results must be of one size.
      start_step: number of the first batch.
      process_index: which process this is, 0..process_count-1.
      process_count: how many processes share a batch; it divides `batch_size`.
      threads: threads that make batches, in each process that does; 0 makes them when asked.
      workers: worker processes; 0: the threads run in this process. They import the main module
        anew, so a script that uses them needs `if __name__ == "__main__":`.
      prefetch: batches made ahead.

    Yields:
      `image` uint8 [b, h, w, 3], `label` uint8 [b, h, w] and `names`, a list of b strings, with
      b = batch_size // process_count.

    Raises:
      InputError: an argument is out of its range; or, while iterating, a file is broken or the
        examples of a batch differ in size.
    """
    part = _part(batch_size, process_index, process_count)
    if seed < 0 or start_step < 0:
        raise InputError(
            f"seed is {seed} and start_step {start_step}.", "Give 0 or above for both."
        )
    if len(source) == 0:
        raise InputError(
            f"Data set '{source.info.name}' is empty.", "Give it at least one example."
        )
    import grain  # imports jax, so it takes a second: only where it is used

    examples = grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(augment)
    return _ahead(_TrainBatches(examples, batch_size, part, start_step), threads, workers, prefetch)


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    input_size: tuple[int, int] | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    prefetch: int = 4,
) -> Generator[dict]:
    """This process's part of the batches that hold every example exactly once.

    Examples are grouped by size, smallest first and in the source's order, so that a batch has one
    shape. The last batch of a group is filled up with black images whose labels are all ignored.
    Every process yields as many batches, of the same shapes.

    Args:
      source: where examples come from.
      batch_size: examples in a batch, over all processes.
      input_size: (height, width) that images are resized to; labels keep their own size.
      process_index, process_count, threads, prefetch: as in `train_batches`.

    Yields:
      `image` uint8 [b, h, w, 3], `label` uint8 [b, H, W], `indices` int64 [b] (positions in the
      source; -1 for filling) and `count`, how many of the b examples are no filling.

    Raises:
      InputError: an argument is out of its range; or, while iterating, a file is broken.
    """
    part = _part(batch_size, process_index, process_count)
    if input_size is not None:
        check_size("eval.input_size", input_size)
    batches = _EvalBatches(source, batch_size, part, input_size)
    return _ahead(batches, threads, 0, prefetch)


class _TrainBatches:
    """The training batches of one process, by number."""

    def __init__(self, examples, batch_size: int, part: slice, start_step: int):
        self._examples, self._batch_size, self._part, self._start = (
            examples,
            batch_size,
            part,
            start_step,
        )

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size - self._start  # without end

    def __getitem__(self, index: int) -> dict:
        first = (self._start + index) * self._batch_size
        examples = [
            self._examples[first + slot] for slot in range(self._part.start, self._part.stop)
        ]
        sizes = {e.label.shape: e.name for e in examples}
        if len(sizes) > 1:
            (one, a), (other, b), *_ = sizes.items()
            raise InputError(
                f"'{a}' is {one[1]} wide and {one[0]} high, '{b}' is {other[1]} wide and "
                f"{other[0]} high: one batch cannot hold both.",
                "Set config.augment.crop, or config.train.batch_size to 1.",
            )
        return {
            "image": np.stack([e.image for e in examples]),
            "label": np.stack([e.label for e in examples]),
            "names": [e.name for e in examples],
        }


class _EvalBatches:
    """The evaluation batches of one process, by number."""

    def __init__(
        self, source: Source, batch_size: int, part: slice, input_size: tuple[int, int] | None
    ):
        self._source, self._input_size = source, input_size
        groups: dict[tuple[int, int], list[int]] = {}
        for index in range(len(source)):
            groups.setdefault(source.size(index), []).append(index)
        self._batches = []  # (size, this process's indices)
        for size, members in sorted(groups.items()):
            for first in range(0, len(members), batch_size):
                batch = members[first : first + batch_size]
                self._batches.append((size, (batch + [-1] * (batch_size - len(batch)))[part]))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> dict:
        size, indices = self._batches[index]
        images = np.zeros((len(indices), *(self._input_size or size), 3), np.uint8)
        labels = np.full((len(indices), *size), self._source.info.ignore_label, np.uint8)
        for slot, position in enumerate(indices):
            if position >= 0:
                image, labels[slot], _ = self._source[position]
                images[slot] = resize_image(image, self._input_size)
        indices = np.array(indices, np.int64)
        return {
            "image": images,
            "label": labels,
            "indices": indices,
            "count": int((indices >= 0).sum()),
        }


def _part(batch_size: int, process_index: int, process_count: int) -> slice:
    """The slots of a batch that are this process's."""
    if batch_size < 1 or process_count < 1 or batch_size % process_count:
        raise InputError(
            f"A batch of {batch_size} cannot be shared evenly by {process_count} processes.",
            "Give a batch size that is a multiple of the number of processes.",
        )
    if not 0 <= process_index < process_count:
        raise InputError(
            f"process_index is {process_index} of {process_count} processes.",
            f"Give 0 to {process_count - 1}.",
        )
    size = batch_size // process_count
    return slice(process_index * size, (process_index + 1) * size)


def _ahead(batches, threads: int, workers: int, prefetch: int) -> Generator[dict]:
    """The batches in order, made ahead by threads or by worker processes."""
    if min(threads, workers, prefetch) < 0:
        raise InputError(
            f"threads is {threads}, workers {workers} and prefetch {prefetch}.",
            "Give 0 or above for each.",
        )
    import grain

    ahead = max(threads, prefetch if not workers else 0) if threads and prefetch else 0
    dataset = grain.MapDataset.source(batches).to_iter_dataset(
        grain.ReadOptions(num_threads=threads if ahead else 0, prefetch_buffer_size=ahead)
    )
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # Grain reads its flags; outside absl.app nobody parsed any
            flags.FLAGS.mark_as_parsed()
        each = max(1, -(-prefetch // workers))
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(workers, per_worker_buffer_size=each)
        )
    return _iterate(dataset, shared_memory=workers > 0)


def _iterate(dataset, shared_memory: bool) -> Generator[dict]:
    iterator = iter(dataset)
    try:
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                if (cause := _input_error_in(error)) not in (None, error):
                    raise cause from None
                raise
            if shared_memory:  # copied, so that a batch may be kept for as long as one likes
                batch = {k: np.array(v) if k != "names" else v for k, v in batch.items()}
            yield batch
    finally:
        iterator.close()  # stops threads and workers at once, not at some garbage collection


def _input_error_in(error: BaseException | None) -> InputError | None:
    """The InputError that `error` is or wraps, if any."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error
