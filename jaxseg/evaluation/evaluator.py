"""Evaluation: counts every image once, in one confusion matrix, on the devices."""

import functools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxseg import metrics
from jaxseg.data import Batch, Example, Source, batch_shapes, eval_batches
from jaxseg.distributed.mesh import make_mesh, replicated, split_batch, split_rows, to_devices
from jaxseg.errors import InputError
from jaxseg.evaluation.counts import Counts, confusion_of_image, over_processes
from jaxseg.evaluation.trained_run import open_run
from jaxseg.inference.padding import Layouts, padded_logits
from jaxseg.inference.protocols import describe, on_devices, protocol, seen_size
from jaxseg.ops.dispatch import for_devices
from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.json_files import json_text
from jaxseg.utils.usage import reading_threads


class Evaluator:
    """Evaluates a network on a data set; keeps its compiled functions between uses.

    Whole images are labelled and counted on the devices. A strip of rows at a time is upsampled,
    reduced to classes and counted, so that memory does not grow with classes times pixels, and only
    the counts leave the devices. With other protocols or boundary IoU, one label map per image
    leaves the devices too.

    Args:
      model: the network.
      source: the data set.
      config: a run's `config.eval`.
      batch_size: images per batch, over all processes, if `config.batch_size` is None.
      threads, prefetch: as in `eval_batches`.
      devices: devices of a topology to compile `count` for; None: the devices of all processes.
      space: number of devices that share the rows of an image.

    Attributes:
      source: the data set.
      mesh: the mesh of devices.
      count: jitted (variables, images, labels, total, layout) -> total plus the batch's counts.

    Raises:
      InputError: as `jaxseg.inference.protocol`.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        config: ml_collections.ConfigDict,
        *,
        batch_size: int = 4,
        threads: int = 2,
        prefetch: int = 4,
        devices: Sequence[jax.Device] | None = None,
        space: int = 1,
    ):
        self.source = source
        self._model = model
        self._config = config
        self._on_devices = on_devices(config)
        self._inference = protocol(
            model, config, lambda: {source.name(i): source.size(i) for i in range(len(source))}
        )
        self._batch_size = config.batch_size or batch_size
        self._threads, self._prefetch = threads, prefetch
        self.mesh = make_mesh(self._batch_size, "eval.batch_size", devices=devices, space=space)
        self._layouts = Layouts(model)
        mesh = self.mesh
        ignore = source.info.ignore_label

        def count(variables, images, labels, total, layout):
            images, labels = split_rows(mesh, images, labels)
            logits, upsampling = padded_logits(model, variables, images, labels.shape[1:3], layout)
            return total + metrics.coarse_confusion(logits, labels, upsampling, ignore_label=ignore)

        def label(variables, images, size, layout):
            (images,) = split_rows(mesh, images)
            return metrics.predict_labels(*padded_logits(model, variables, images, size, layout))

        everywhere, split = replicated(self.mesh), split_batch(self.mesh)
        self._label = jax.jit(
            for_devices(label, self.mesh.devices.flatten()),
            static_argnums=2,
            in_shardings=(everywhere, split, split),
            out_shardings=split,
        )
        self.count = jax.jit(
            for_devices(count, self.mesh.devices.flatten()),
            in_shardings=(everywhere, split, split, everywhere, split),
            out_shardings=everywhere,
            donate_argnums=3,
        )

    @classmethod
    def of_run(
        cls,
        model: nn.Module,
        source: Source,
        config: ml_collections.ConfigDict,
        devices: Sequence[jax.Device] | None = None,
    ) -> "Evaluator":
        """Creates the evaluator of a run from its whole config."""
        return cls(
            model,
            source,
            config.eval,
            batch_size=config.train.batch_size // config.train.accumulate,
            threads=reading_threads(config.data.threads),
            prefetch=config.data.prefetch,
            devices=devices,
            space=config.train.space,
        )

    def check(self, variables) -> None:
        """Raises InputError if the network does not support the first image of the data set."""
        config = self._config
        if config.protocol == "whole":
            size = seen_size(config, self.source.size(0)) or self.source.size(0)
            what, field = "resizes to", "fit" if config.fit else "input_size"
        else:
            size, what, field = config.crop, "cuts images into", "crop"
        channels = self._model.preprocessing.channels
        images = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
        try:
            jax.eval_shape(functools.partial(self._model.apply, method="heads"), variables, images)
        except InputError as error:
            raise InputError(
                f"Evaluation: {error.problem}",
                f"{error.remedy} config.eval.{field} is the size that evaluation {what}.",
            ) from None

    def confusion(self, variables) -> np.ndarray:
        """The confusion matrix of the whole data set, [C, C] int64, row = truth.

        Raises:
          InputError: no pixel of the data set is labelled.
        """
        return self._totals(variables)[0]

    def scores(self, variables) -> dict:
        """`metrics.scores` of the whole data set, the class names, and a description `protocol`.

        Raises:
          InputError: no pixel of the data set is labelled.
        """
        confusion, boundary = self._totals(variables)
        result = metrics.scores(confusion, absent=self._config.absent, boundary=boundary)
        names = list(self.source.info.class_names)
        return result | {"class_names": names, "protocol": self._protocol()}

    def labels(self, variables, example: Example) -> np.ndarray:
        """The predicted labels of one example of the data set, by the protocol: uint8 [H, W].

        Processes do not communicate, so that a single one may call it.
        """
        inference = self._inference.named(example.name)
        return inference.labels(_of_this_process(variables), example.image)

    def label_maps(self, variables) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields index, truth and prediction (uint8 [H, W]) of every image of this process."""
        if not self._on_devices:
            variables = _of_this_process(variables)
        for batch in self._batches():
            if self._on_devices:
                predictions = self._labels_of(variables, batch)
            for slot, index in enumerate(batch.indices.tolist()):
                if index >= 0:
                    height, width = self.source.size(index)
                    truth = batch.label[slot, :height, :width]
                    if self._on_devices:
                        yield index, truth, predictions[slot, :height, :width]
                    else:
                        inference = self._inference.named(batch.names[slot])
                        yield index, truth, inference.labels(variables, batch.image[slot])

    def _totals(self, variables) -> tuple[np.ndarray, np.ndarray | None]:
        """The confusion matrix, and the boundary counts if requested."""
        if self._on_devices and not self._config.boundary:
            confusion, boundary = self._count_on_devices(variables), None
        else:
            confusion, boundary = self._count_label_maps(variables)
        if not confusion.sum():
            raise InputError(
                f"No pixel of '{self.source.info.name}' is labelled, so there is nothing to "
                "evaluate.",
                "Use an evaluation split with labels.",
            )
        return confusion, boundary

    def _count_on_devices(self, variables) -> np.ndarray:
        counts = Counts(self.source.info.num_classes)
        for batch in self._batches():
            images, labels = to_devices(self.mesh, batch.image, batch.label)
            layout = self._layout(variables, batch)
            counts.add(
                functools.partial(self._count_batch, variables, images, labels, layout),
                labels.size,
            )
        return counts.total()

    def _count_batch(self, variables, images, labels, layout, total):
        return self.count(variables, images, labels, total, layout)

    def _count_label_maps(self, variables) -> tuple[np.ndarray, np.ndarray | None]:
        info = self.source.info
        classes, ignore = info.num_classes, info.ignore_label
        confusion = np.zeros((classes, classes), np.int64)
        boundary = np.zeros((classes, 3), np.int64) if self._config.boundary else None
        for _, truth, prediction in self.label_maps(variables):
            confusion += confusion_of_image(truth, prediction, classes, ignore)
            if boundary is not None:
                boundary += metrics.boundary_counts(truth, prediction, classes, ignore_label=ignore)
        boundary = None if boundary is None else over_processes(boundary)
        return over_processes(confusion), boundary

    def _labels_of(self, variables, batch: Batch) -> np.ndarray:
        """Predictions for this process's part of a batch of whole images, uint8 [b, H, W]."""
        (images,) = to_devices(self.mesh, batch.image)
        size, layout = batch.label.shape[1:3], self._layout(variables, batch)
        labels = self._label(variables, images, size, layout)
        # each device of a group that shares an image has all of its labels
        first = [shard for shard in labels.addressable_shards if shard.replica_id == 0]
        shards = sorted(first, key=lambda s: s.index[0].start or 0)
        return np.concatenate([np.asarray(shard.data) for shard in shards])

    def _layout(self, variables, batch: Batch):
        """The layout of images of several sizes in a batch; None if all have one size."""
        if self._config.pad_to is None:
            return None
        canvas = batch.image.shape[1:3]
        sizes = [self.source.size(i) if i >= 0 else canvas for i in batch.indices.tolist()]
        layout = self._layouts(variables, canvas, sizes)
        return type(layout)(*to_devices(self.mesh, *layout))

    def _protocol(self) -> str:
        """A description; for whole images of several sizes, with the number of compilations."""
        config = self._config
        text = describe(config)
        if config.protocol != "whole" or config.input_size or config.fit:
            return text
        if config.pad_to:
            text += f", padded to multiples of {config.pad_to}"
        shapes = batch_shapes(self.source, config.pad_to)
        return text if shapes == 1 else f"{text}, {shapes} shapes compiled"

    def _batches(self) -> Iterator[Batch]:
        processes = jax.process_count()
        return eval_batches(
            self.source,
            batch_size=self._batch_size if self._on_devices else processes,
            input_size=self._config.input_size if self._on_devices else None,
            pad_to=self._config.pad_to if self._on_devices else None,
            process_index=jax.process_index(),
            process_count=processes,
            threads=self._threads,
            prefetch=self._prefetch,
        )


def _of_this_process(variables: Any) -> Any:
    """Copies of replicated variables on one of this process's devices."""

    def own(a):
        return a.addressable_data(0) if isinstance(a, jax.Array) else a

    return jax.tree.map(own, variables)


def write_scores(path: pathlib.Path, scores: dict) -> None:
    """Writes metrics as JSON; NaN, the value of a class without pixels, becomes null."""
    write_atomic(path, json_text(scores))


def evaluate_workdir(
    workdir: str | os.PathLike, step: str | int = "last", fields: Mapping[str, Any] | None = None
) -> dict:
    """Evaluates a run's checkpoint, or a published network, on an evaluation split.

    Args:
      workdir: a run; or a name, folder or file for `jaxseg.load`, in which case `fields` gives the
        data set: {"data.root": DIR}.
      step: "last", "best" or the number of a step.
      fields: config fields to change, by dotted name, such as {"eval.protocol": "sliding"}.

    Returns:
      `Evaluator.scores`, and `step`; for a published network also "published", the mean IoU given
      by its authors. For "last" of a finished run without `fields`, the result equals its
      `scores.json`.

    Raises:
      InputError: no run, no such checkpoint, a field with an invalid value, or the data set is
        missing or damaged.
    """
    run = open_run(workdir, step, fields)
    evaluator = Evaluator.of_run(run.model, run.source, run.config)
    if fields:
        evaluator.check(run.variables)
    scores = evaluator.scores(run.variables) | {"step": run.step}
    row = run.published
    if row is not None and row.mean_iou is not None:
        scores["published"] = {"name": row.name, "mean_iou": row.mean_iou, "on": row.measured_on}
    return scores
