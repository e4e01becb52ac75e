"""The parts of a training: network, devices, state, step, batches.

The training loop and `jaxseg.benchmark` share this file, so that they run the same programs.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import ml_collections
import optax

from jaxseg.data import Batch, Skipped, Source, batch_shapes, train_batches
from jaxseg.data.mixing import augmentation
from jaxseg.data.plan import Plan
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
from jaxseg.training.device_augment import device_augment
from jaxseg.training.optimizers import check_patterns, frozen, make_optimizer, make_schedule
from jaxseg.training.step import TrainState, create_state, make_train_step, state_at_start
from jaxseg.utils.usage import reading_threads


class Program:
    """The parts of a training; creating them computes and writes nothing.

    Args:
      config: the validated config of the run.
      source: the training split.
      schedule: learning rate; None: that of the config.
      devices: devices of a topology to compile `step` for; None: the devices of all processes.

    Attributes:
      config: config with numbers for fields that depend on the data (`automatic.resolved`).
      notes: lines about these numbers.
      model: the network.
      mesh: the mesh of devices.
      schedule: the learning rate as a function of the step, 0 for the first.
      size: (height, width) of the images for initialisation.
      like: the state's shapes, a `TrainState` of `jax.ShapeDtypeStruct`s.
      placed: the sharding of each array of the state.
      step: (state, images, labels) -> (state, metrics), jitted; it donates the state.
      compiled: the step for one shape of a batch; None before `compile`.
      pad_to: whole images are padded to multiples of it in a batch; None if all have one size.

    Raises:
      InputError: the network, the optimizer or the devices do not match the config.
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
        """Compiles the step for batches of this shape, so that its memory is known."""
        self.compiled = self.step.lower(self.like, images, labels).compile()
        self._compiled_for = images.shape

    def take_step(
        self, state: TrainState, images: jax.Array, labels: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Applies `step`, by the program of `compile` if the batch has its shape."""
        if self.compiled is not None and images.shape == self._compiled_for:
            return self.compiled(state, images, labels)
        return self.step(state, images, labels)

    def _create(self) -> TrainState:
        seed = self.config.seed
        return create_state(self.model, self._optimizer, seed, self.size, self._averaged)

    def initial_state(self) -> TrainState:
        """The state at step 0, from random numbers."""
        # XLA's CPU optimizer takes a second per layer for random numbers, without any gain here.
        quick = {"xla_backend_optimization_level": 1} if on_cpu() else None
        return jax.jit(self._create, out_shardings=self.placed, compiler_options=quick)()

    def state_from(self, variables: dict[str, Any]) -> TrainState:
        """The state at step 0 from `variables`, which are equal in every process."""
        start = jax.jit(
            lambda v: state_at_start(v, self._optimizer, self._averaged), out_shardings=self.placed
        )
        return start(to_every_device(self.mesh, variables))

    def shapes(self) -> int:
        """The number of different shapes of batches; each is compiled once."""
        return batch_shapes(self.source, self.pad_to, self.config.train.batch_size)

    def batches(
        self,
        start: int = 0,
        skipped: Skipped | None = None,
        names: dict[int, Sequence[str]] | None = None,
    ) -> Generator[tuple[jax.Array, jax.Array]]:
        """Images and labels of the steps after `start`, on the devices; an infinite generator.

        Args:
          start: number of steps taken before.
          skipped: receives skipped bad files; None: the first bad file ends the run.
          names: receives the image names of each step.
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
        rest = None
        if config.augment.on_device:
            rest = device_augment(config.augment, self._fill, self.mesh)
        return _on_devices(batches, self.mesh, rest, ahead=2)


def _remembered(batches: Generator[Batch], names: dict[int, Sequence[str]]) -> Generator[Batch]:
    """The same batches; stores the image names of each in `names`, by step."""
    try:
        for batch in batches:
            names[batch.step + 1] = batch.names
            yield batch
    finally:
        batches.close()


def _on_devices(
    batches: Generator[Batch],
    mesh,
    rest: Callable[[jax.Array, Plan], jax.Array] | None,
    ahead: int,
) -> Generator[tuple[jax.Array, ...]]:
    """Images and labels on the devices, `ahead` batches early: copies overlap with steps.

    `rest` applies the plans of batches that have one.
    """
    queue: list[tuple[jax.Array, ...]] = []
    try:
        for batch in batches:
            images, labels = to_devices(mesh, batch.image, batch.label)
            if rest is not None and batch.plan is not None:
                images = rest(images, Plan(*to_devices(mesh, *batch.plan)))
            queue.append((images, labels))
            if len(queue) >= ahead:
                yield queue.pop(0)
        yield from queue
    finally:
        batches.close()
