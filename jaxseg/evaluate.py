"""Evaluation: every image once, one confusion matrix on the devices, only counts leave them."""

import functools
import json
import pathlib
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxseg import metrics
from jaxseg.data import Source, eval_batches
from jaxseg.errors import InputError
from jaxseg.models import normalize
from jaxseg.sharding import make_mesh, replicated, split_batch, to_devices
from jaxseg.trained import load_trained

_FLUSH = 2**30  # pixels counted in int32 on the devices before they are added up in 64 bits


class Evaluator:
    """Scores a network on a data set; its compiled functions are kept from one use to the next.

    Args:
      model: the network.
      source: the data set.
      config: a run's config; `eval` and `data` are used.
    """

    def __init__(self, model: nn.Module, source: Source, config: ml_collections.ConfigDict):
        self.source = source
        self._model = model
        self._config = config
        batch_size = config.eval.batch_size or config.train.batch_size // config.train.accumulate
        self._mesh = make_mesh(batch_size, "eval.batch_size")
        self._batch_size = batch_size
        ignore = source.info.ignore_label

        def count(variables, images, labels, total):
            images = normalize(images, model.preprocessing)
            head = model.apply(variables, images, method="heads")[0]
            upsampling = head.upsampling.resized(labels.shape[1:3])
            return total + metrics.coarse_confusion(
                head.logits, labels, upsampling, ignore_label=ignore
            )

        def label(variables, images, size):
            images = normalize(images, model.preprocessing)
            head = model.apply(variables, images, method="heads")[0]
            return metrics.predict_labels(head.logits, head.upsampling.resized(size))

        whole, split = replicated(self._mesh), split_batch(self._mesh)
        self._label = jax.jit(
            label, static_argnums=2, in_shardings=(whole, split), out_shardings=split
        )
        self._count = jax.jit(
            count,
            in_shardings=(whole, split, split, whole),
            out_shardings=whole,
            donate_argnums=3,
        )

    def check(self, variables) -> None:
        """Raises InputError where the network cannot take the data set's images (the first one)."""
        size = self._config.eval.input_size or self.source.size(0)
        images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        try:
            jax.eval_shape(functools.partial(self._model.apply, method="heads"), variables, images)
        except InputError as error:
            raise InputError(
                f"Evaluation: {error.problem}",
                f"{error.remedy} config.eval.input_size is the size that evaluation resizes to.",
            ) from None

    def confusion(self, variables) -> np.ndarray:
        """[C, C] int64 over the whole data set, row = truth.

        Raises:
          InputError: not one pixel of the data set is labelled.
        """
        classes = self.source.info.num_classes
        zero = np.zeros((classes, classes), np.int32)
        result, total, pixels = zero.astype(np.int64), jnp.asarray(zero), 0
        for batch in self._batches():
            images, labels = to_devices(self._mesh, batch["image"], batch["label"])
            if pixels + labels.size > _FLUSH:
                result, total, pixels = result + np.asarray(total), jnp.asarray(zero), 0
            total = self._count(variables, images, labels, total)
            pixels += labels.size
        result += np.asarray(total)
        if not result.sum():
            raise InputError(
                f"No pixel of '{self.source.info.name}' is labelled, so there is nothing to score.",
                "Give an evaluation split with labels.",
            )
        return result

    def scores(self, variables) -> dict:
        """`metrics.scores` of `confusion`, and the class names."""
        result = metrics.scores(self.confusion(variables))
        return result | {"class_names": list(self.source.info.class_names)}

    def label_maps(self, variables) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Index, truth and prediction (uint8 [H, W]) of every image of this process, once."""
        for batch in self._batches():
            (images,) = to_devices(self._mesh, batch["image"])
            labels = self._label(variables, images, batch["label"].shape[1:3])
            shards = sorted(labels.addressable_shards, key=lambda s: s.index[0].start or 0)
            predictions = np.concatenate([np.asarray(shard.data) for shard in shards])
            for index, truth, prediction in zip(
                batch["indices"].tolist(), batch["label"], predictions, strict=True
            ):
                if index >= 0:
                    height, width = self.source.size(index)
                    yield index, truth[:height, :width], prediction[:height, :width]

    def _batches(self) -> Iterator[dict]:
        data = self._config.data
        return eval_batches(
            self.source,
            batch_size=self._batch_size,
            input_size=self._config.eval.input_size,
            pad_to=self._config.eval.pad_to,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=data.threads,
            prefetch=data.prefetch,
        )


def write_scores(path: pathlib.Path, scores: dict) -> None:
    """Writes scores as JSON; a class that is absent (NaN) becomes null."""
    scores = scores | {"iou": [None if np.isnan(v) else v for v in scores["iou"]]}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(scores, indent=1, allow_nan=False) + "\n")
    temporary.replace(path)


def evaluate_workdir(workdir: str | pathlib.Path, step: str | int = "last") -> dict:
    """Scores a checkpoint of a run on the run's own evaluation split.

    Args:
      workdir: what `train` left.
      step: "last", "best" or a step's number.

    Returns:
      `metrics.scores`, with `class_names` and `step`. For "last" of a finished run they equal its
      `scores.json`.

    Raises:
      InputError: no run, no such checkpoint, or the data set is missing or damaged.
    """
    run = load_trained(workdir, step)
    evaluator = Evaluator(run.model, run.source, run.config)
    return evaluator.scores(run.variables) | {"step": run.step}
