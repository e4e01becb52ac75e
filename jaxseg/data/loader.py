"""Batches of a source, in the order that training and evaluation read them.

Both kinds of batch are functions of their number alone, so that any batch of a run can be made
without those before it. Threads or worker processes only make them ahead of time.
"""

from collections.abc import Callable, Generator

import numpy as np

from jaxseg.data.augment import check_size
from jaxseg.data.batches import (
    Batch,
    EvalBatches,
    Ordered,
    TrainBatches,
    WithReplacement,
    input_error_in,
)
from jaxseg.data.skipped import Skipped
from jaxseg.data.source import Example, Source
from jaxseg.errors import InputError, nearest

_SAMPLINGS = ("shuffle", "replacement")


def train_batches(
    source: Source,
    *,
    seed: int,
    batch_size: int,
    augment: Callable[[Example, np.random.Generator], Example],
    sampling: str = "shuffle",
    pad_to: int | None = None,
    fill: tuple[float, ...] = (0, 0, 0),
    skipped: Skipped | None = None,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    workers: int = 0,
    prefetch: int = 4,
) -> Generator[Batch]:
    """This process's part of the training batches `start_step`, `start_step + 1`, ... without end.

    A position 0, 1, ... of the run decides, with the seed, which example stands there and how it is
    augmented: the source is shuffled anew in every epoch, and a batch may straddle two epochs; or
    each example is drawn from all of them, as FCN's released training does. Batch t holds positions
    t * batch_size to (t + 1) * batch_size - 1. Of these process p gets the p-th part, so that the
    parts in order are the batch of a single process.

    Args:
      source: where examples come from; picklable where `workers` > 0.
      seed: of order and augmentation, 0 or above.
      batch_size: examples in a batch, over all processes.
      augment: `(example, rng) -> example`, such as `Augment`; its results must be of one size, or
        with `pad_to` of the size of their input.
      sampling: "shuffle" (epochs) or "replacement".
      pad_to: images of several sizes share a batch: they stand in its upper left corner, and its
        height and width are the least multiples of this that hold them. The rest is `fill` and
        ignored. `batch_shapes` tells how many shapes there can be.
      fill: a number for each channel: (r, g, b), 0..255.
      skipped: receives the examples whose files are bad, and ends the run where they are too many;
        the example a billion positions later takes the place. None: the first ends the run.
      start_step: number of the first batch.
      process_index: which process this is, 0..process_count-1.
      process_count: how many processes share a batch; it divides `batch_size`.
      threads: threads that make batches, in each process that does; 0 makes them when asked.
      workers: worker processes; 0: the threads run in this process. They import the main module
        anew, so a script that uses them needs `if __name__ == "__main__":`.
      prefetch: batches made ahead.

    Yields:
      A `Batch` of b = batch_size // process_count examples.

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
    if sampling not in _SAMPLINGS:
        raise InputError(f"sampling is '{sampling}'.", nearest(sampling, _SAMPLINGS))
    import grain  # imports jax, so it takes a second: only where it is used

    if sampling == "shuffle":
        order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
        examples = grain.MapDataset.source(source).seed(seed).shuffle().repeat()  # the same order
    else:
        order = WithReplacement(len(source), seed)
        examples = grain.MapDataset.source(Ordered(source, order)).seed(seed)
    batches = TrainBatches(
        source,
        order,
        examples.random_map(augment),
        batch_size=batch_size,
        part=part,
        start_step=start_step,
        pad_to=pad_to,
        fill=fill,
        skip=skipped is not None,
    )
    return _ahead(batches, threads, workers, prefetch, skipped)


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    input_size: tuple[int, int] | None = None,
    pad_to: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    prefetch: int = 4,
) -> Generator[Batch]:
    """This process's part of the batches that hold every example exactly once.

    Examples are grouped by size (with `pad_to`, by the size they pad to), smallest first and in the
    source's order, so that a batch has one shape. The last batch of a group is filled up with black
    images whose labels are all ignored. Every process yields as many batches, of the same shapes.

    Args:
      source: where examples come from.
      batch_size: examples in a batch, over all processes.
      input_size: (height, width) that images are resized to; labels keep their own size.
      pad_to: as in `train_batches`; not together with `input_size`.
      process_index, process_count, threads, prefetch: as in `train_batches`.

    Yields:
      A `Batch` of b = batch_size // process_count examples, with `indices`.

    Raises:
      InputError: an argument is out of its range; or, while iterating, a file is broken.
    """
    part = _part(batch_size, process_index, process_count)
    if input_size is not None:
        check_size("eval.input_size", input_size)
    if input_size is not None and pad_to is not None:
        raise InputError(
            f"eval.input_size is {tuple(input_size)} and eval.pad_to {pad_to}.",
            "Set one of them to None: resized images already have one size.",
        )
    batches = EvalBatches(source, batch_size, part, input_size, pad_to)
    return _ahead(batches, threads, 0, prefetch)


def _part(batch_size: int, process_index: int, process_count: int) -> slice:
    """The slots of a batch that are this process's."""
    if batch_size < 1 or process_count < 1 or batch_size % process_count:
        raise InputError(
            f"A batch of {batch_size} cannot be split evenly over {process_count} processes.",
            "Give a batch size that is a multiple of the number of processes.",
        )
    if not 0 <= process_index < process_count:
        raise InputError(
            f"process_index is {process_index} of {process_count} processes.",
            f"Give 0 to {process_count - 1}.",
        )
    size = batch_size // process_count
    return slice(process_index * size, (process_index + 1) * size)


def _ahead(
    batches, threads: int, workers: int, prefetch: int, skipped: Skipped | None = None
) -> Generator[Batch]:
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
    return _iterate(dataset, skipped, shared_memory=workers > 0)


def _iterate(dataset, skipped: Skipped | None, shared_memory: bool) -> Generator[Batch]:
    iterator = iter(dataset)
    try:
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                if (cause := input_error_in(error)) not in (None, error):
                    raise cause from None
                raise
            if shared_memory:  # copied, so that a batch may be kept for as long as one likes
                batch = batch._replace(image=np.array(batch.image), label=np.array(batch.label))
            if skipped is not None:
                for bad in batch.skipped:
                    skipped.add(bad)
            yield batch
    finally:
        iterator.close()  # stops threads and workers at once, not at some garbage collection
