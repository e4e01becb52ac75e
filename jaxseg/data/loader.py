"""Batches of a source, in the order of training and evaluation.

Both kinds of batch are functions of their number only, so that any batch of a run can be created
without the earlier ones. Threads or worker processes only prepare them in advance.
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
from jaxseg.data.plan import Plan, Planned
from jaxseg.data.skipped import Skipped
from jaxseg.data.source import Example, Source
from jaxseg.errors import InputError, nearest

_SAMPLINGS = ("shuffle", "replacement")


def train_batches(
    source: Source,
    *,
    seed: int,
    batch_size: int,
    augment: Callable[[Example, np.random.Generator], Example | Planned],
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
    """Yields this process's part of training batches `start_step`, `start_step + 1`, ... forever.

    The seed and the position 0, 1, ... in the run determine each example and its augmentation. The
    source is reshuffled in every epoch, and a batch may span two epochs; or each example is drawn
    from all of them, as in FCN's released training. Batch t contains the positions from
    t * batch_size to (t + 1) * batch_size - 1. Process p gets the p-th part, so the parts in order
    form the batch of a single process.

    Args:
      source: the examples; picklable if `workers` > 0.
      seed: seed of order and augmentation, 0 or above.
      batch_size: examples in a batch, over all processes.
      augment: `(example, rng) -> example`, such as `Augment`; its results must have one size, or
        with `pad_to` the size of their input.
      sampling: "shuffle" (epochs) or "replacement".
      pad_to: puts images of several sizes into one batch: each is in the upper left corner, and
        height and width of the batch are the smallest multiples of this that fit. The rest is
        `fill` and ignored. `batch_shapes` gives the possible number of shapes.
      fill: one number per channel: (r, g, b), 0..255.
      skipped: receives the examples with bad files, and stops the run if there are too many; the
        example a billion positions later replaces each. None: the first bad file stops the run.
      start_step: number of the first batch.
      process_index: which process this is, 0..process_count-1.
      process_count: number of processes that share a batch; it divides `batch_size`.
      threads: threads that prepare batches, per process that does so; 0: on demand.
      workers: worker processes; 0: the threads run in this process. Workers import the main module
        again, so a script that uses them needs `if __name__ == "__main__":`.
      prefetch: batches prepared in advance.

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
    import grain  # imports jax, which takes a second, so only on use

    if sampling == "shuffle":
        order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
        examples = grain.MapDataset.source(source).seed(seed).shuffle().repeat()  # same as `order`
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
    """Yields this process's part of the batches that contain every example exactly once.

    Examples are grouped by size (with `pad_to`, by padded size), smallest first and in the order of
    the source, so each batch has one shape. The last batch of a group is filled with black images
    whose labels are all ignored. All processes yield the same number of batches with the same
    shapes.

    Args:
      source: the examples.
      batch_size: examples in a batch, over all processes.
      input_size: (height, width) to which images are resized; labels keep their size.
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
    """The slots of a batch that belong to this process."""
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
    """The batches in order, prepared in advance by threads or worker processes."""
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

        if not flags.FLAGS.is_parsed():  # Grain reads absl flags, which only absl.app parses
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
            if shared_memory:  # copied, so that a caller may keep the batch
                batch = batch._replace(image=np.array(batch.image), label=np.array(batch.label))
                if batch.plan is not None:
                    batch = batch._replace(plan=Plan(*map(np.array, batch.plan)))
            if skipped is not None:
                for bad in batch.skipped:
                    skipped.add(bad)
            yield batch
    finally:
        iterator.close()  # stops threads and workers now, not at a later garbage collection
