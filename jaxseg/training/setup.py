"""The parts of a training before it runs: network, devices, state, step, batches.

The training loop runs it and `jaxseg.benchmark` measures it: the same programs, made in one place.
"""

from collections.abc import Generator, Sequence
from typing import Any

import jax
import ml_collections
import optax

from jaxseg.data import Batch, Skipped, Source, batch_shapes, train_batches
from jaxseg.data.mixing import augmentation
from jaxseg.distributed.devices import on_cpu
from jaxseg.distributed.mesh import (
    gathered,
    make_mesh,
    replicated,
    split_batch,
    split_state,
    to_devices,
    to_every_device,
    with_split_rows,
)
from jaxseg.errors import InputError
from jaxseg.models import model_from_config
from jaxseg.ops.dispatch import for_devices
from jaxseg.training.automatic import resolved
from jaxseg.training.optimizers import check_patterns, frozen, make_optimizer, make_schedule
from jaxseg.training.step import TrainState, create_state, make_train_step, state_at_start
from jaxseg.utils.usage import reading_threads


class Program:
    """The parts of a training; making them computes nothing and writes nothing.

    Args:
      config: of the run, validated.
      source: its training split.
      schedule: of the learning rate, in place of that of the config.
      devices: those of a topology that `step` is compiled for; None: the ones there are.

    Attributes:
      config: of the run, with numbers for what depends on the data (`automatic.resolved`).
      notes: lines on how these came about.
      model: the network.
      mesh: the devices.
      schedule: the learning rate by the step, 0 for the first.
      size: (height, width) of the images it is initialised with.
      like: the state's shapes, a `TrainState` of `jax.ShapeDtypeStruct`s.
      placed: where the state's arrays are, a sharding for each.
      step: (state, images, labels) -> (state, metrics), jitted; it takes the state's memory.
      compiled: the step for one shape of a batch; None before `compile`.
      pad_to: multiples that batches of whole images are padded to; None where they are of one size.

    Raises:
      InputError: the network, the optimiser or the devices do not go together with the config.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        source: Source,
        schedule: optax.Schedule | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        self.notes: list[str] = []
        config = resolved(config, source, self.notes.append)
        if not config.train.batch_size:
            raise InputError(
                "Config field train.batch_size is 0, which works only in training.",
                "Give the number of images.",
            )
        self.source, self.config = source, config
        self.model = model_from_config(config.model, source.info.num_classes, config.data)
        self._fill = self.model.preprocessing.fill
        self._augment = augmentation(config.augment, source, self._fill)
        accumulate = config.train.accumulate
        self.mesh = make_mesh(
            config.train.batch_size // accumulate,
            "train.batch_size" + (" / train.accumulate" if accumulate > 1 else ""),
            config.train.fsdp,
            devices,
            config.train.space,
        )
        self.schedule = schedule or make_schedule(config.optim, config.train.steps)
        self._optimizer = make_optimizer(config.optim, config.train.steps, self.schedule)
        self._averaged = config.optim.ema is not None
        self.size = config.augment.crop or config.augment.resize or source.size(0)
        self.like = jax.eval_shape(self._create)
        self.placed = split_state(self.mesh, self.like)
        check_patterns(config.optim, self.like.params)
        whole_images = config.augment.crop is None and config.augment.resize is None
        self.pad_to = config.data.pad_to if whole_images else None

        step = make_train_step(
            self.model,
            self._optimizer,
            config.loss,
            config.seed,
            source.info.ignore_label,
            accumulate=accumulate,
            ema=config.optim.ema,
            frozen=frozen(config.optim),
            gather=lambda params: gathered(self.mesh, params, self.model.dtype),
        )
        split = split_batch(self.mesh)
        self.step = jax.jit(
            for_devices(with_split_rows(step, self.mesh), self.mesh.devices.flatten()),
            in_shardings=(self.placed, split, split),
            out_shardings=(self.placed, replicated(self.mesh)),
            donate_argnums=0,
        )
        self.compiled: jax.stages.Compiled | None = None
        self._compiled_for: tuple[int, ...] | None = None

    def compile(self, images: jax.Array, labels: jax.Array) -> None:
        """Compiles the step for batches of this shape, so that what it takes is known."""
        self.compiled = self.step.lower(self.like, images, labels).compile()
        self._compiled_for = images.shape

    def take_step(
        self, state: TrainState, images: jax.Array, labels: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """`step`, by the program of `compile` where it has the batch's shape."""
        if self.compiled is not None and images.shape == self._compiled_for:
            return self.compiled(state, images, labels)
        return self.step(state, images, labels)

    def _create(self) -> TrainState:
        seed = self.config.seed
        return create_state(self.model, self._optimizer, seed, self.size, self._averaged)

    def initial_state(self) -> TrainState:
        """The state at step 0, of random numbers."""
        # Random numbers take XLA's optimiser for the CPU a second a layer, to gain nothing here.
        quick = {"xla_backend_optimization_level": 1} if on_cpu() else None
        return jax.jit(self._create, out_shardings=self.placed, compiler_options=quick)()

    def state_from(self, variables: dict[str, Any]) -> TrainState:
        """The state at step 0 that starts from `variables`, which every process has alike."""
        start = jax.jit(
            lambda v: state_at_start(v, self._optimizer, self._averaged), out_shardings=self.placed
        )
        return start(to_every_device(self.mesh, variables))

    def shapes(self) -> int:
        """How many shapes the batches can have, each of which is compiled once."""
        return batch_shapes(self.source, self.pad_to, self.config.train.batch_size)

    def batches(
        self,
        start: int = 0,
        skipped: Skipped | None = None,
        names: dict[int, Sequence[str]] | None = None,
    ) -> Generator[tuple[jax.Array, jax.Array]]:
        """Images and labels of the steps after `start`, on the devices, without end.

        Args:
          start: steps taken before.
          skipped: receives the bad files that are skipped; None: the first ends the run.
          names: receives the names of the images of each step.
        """
        config = self.config
        batches = train_batches(
            self.source,
            seed=config.seed,
            batch_size=config.train.batch_size,
            augment=self._augment,
            sampling=config.data.sampling,
            pad_to=self.pad_to,
            fill=self._fill,
            skipped=skipped,
            start_step=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=reading_threads(config.data.threads),
            workers=config.data.workers,
            prefetch=config.data.prefetch,
        )
        if names is not None:
            batches = _remembered(batches, names)
        return _on_devices(batches, self.mesh, ahead=2)


def _remembered(batches: Generator[Batch], names: dict[int, Sequence[str]]) -> Generator[Batch]:
    """The same batches; `names` receives the names of each, by the step that takes it."""
    try:
        for batch in batches:
            names[batch.step + 1] = batch.names
            yield batch
    finally:
        batches.close()


def _on_devices(batches: Generator[Batch], mesh, ahead: int) -> Generator[tuple[jax.Array, ...]]:
    """Images and labels on the devices, `ahead` batches early: copies overlap with steps."""
    queue: list[tuple[jax.Array, ...]] = []
    try:
        for batch in batches:
            queue.append(to_devices(mesh, batch.image, batch.label))
            if len(queue) >= ahead:
                yield queue.pop(0)
        yield from queue
    finally:
        batches.close()
