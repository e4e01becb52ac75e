"""Measures one run: metrics, predictions of all images, size and speed."""

import dataclasses
import functools
import pathlib
import statistics
import sys
import time
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxseg import metrics
from jaxseg.checkpoint.metrics_log import left_out, log_lines
from jaxseg.data import Source, resize_image
from jaxseg.errors import InputError
from jaxseg.evaluation.counts import confusion_of_image
from jaxseg.evaluation.evaluator import Evaluator
from jaxseg.evaluation.trained_run import TrainedRun
from jaxseg.inference.protocols import describe, seen_size
from jaxseg.inference.whole_image import image_labels
from jaxseg.ops.flops import count_flops

_TIMED = 3  # number of timed batches


@dataclasses.dataclass(frozen=True)
class Measured:
    """The measurements of a run for a report.

    Attributes:
      name: name of its workdir.
      config: config of the run.
      source: the evaluation split.
      step: step of the checkpoint.
      scores: `metrics.scores` of the split, and a description `protocol`.
      confusion: [C, C] int64 for the split, row = truth.
      image_iou: [N] mean IoU of each image separately; NaN for an image without labels.
      image_pixels: [N, C] int64, pixels of each class in each image.
      log: the entries of `metrics.jsonl`.
      parameters: number of parameters.
      flops: operations of the network for one image; a multiply-add counts as two.
      input_size: (height, width) of that image, or of a window.
      batch_size: size of the timed batches.
      images_per_second: through network, upsampling and argmax on one device.
    """

    name: str
    config: ml_collections.ConfigDict
    source: Source
    step: int
    scores: dict[str, Any]
    confusion: np.ndarray
    image_iou: np.ndarray
    image_pixels: np.ndarray
    log: list[dict[str, Any]]
    parameters: int
    flops: int
    input_size: tuple[int, int]
    batch_size: int
    images_per_second: float
    _predictions: list[bytes]

    def prediction(self, index: int) -> np.ndarray:
        """The labels of image `index`, uint8 [H, W], at the size of its truth."""
        flat = np.frombuffer(zlib.decompress(self._predictions[index]), np.uint8)
        return flat.reshape(self.source.size(index))

    @property
    def finished(self) -> bool:
        """Whether the checkpoint is of the run's last step; True for networks from elsewhere."""
        return self.step == 0 or self.step >= self.config.train.steps


def measure(name: str, run: TrainedRun) -> Measured:
    """Evaluates a run's checkpoint image by image, and measures its network.

    Args:
      name: name of the run in the report.
      run: its network and its evaluation split.

    Raises:
      InputError: the data set is damaged, or no pixel is labelled.
    """
    config, info = run.config, run.source.info
    count, classes = len(run.source), info.num_classes
    image_iou, image_pixels = np.full(count, np.nan), np.zeros((count, classes), np.int64)
    total, predictions = np.zeros((classes, classes), np.int64), [b""] * count
    boundary = np.zeros((classes, 3), np.int64) if config.eval.boundary else None
    evaluator = Evaluator.of_run(run.model, run.source, config)
    for index, truth, prediction in evaluator.label_maps(run.variables):
        confusion = confusion_of_image(truth, prediction, classes, info.ignore_label)
        total += confusion
        image_iou[index] = metrics.scores(confusion)["mean_iou"]
        image_pixels[index] = confusion.sum(axis=1)
        if boundary is not None:
            boundary += metrics.boundary_counts(
                truth, prediction, classes, ignore_label=info.ignore_label
            )
        predictions[index] = zlib.compress(prediction.tobytes(), level=1)
    if not total.sum():
        raise InputError(
            f"No pixel of '{info.name}' is labelled, so there is nothing to evaluate.",
            "Use an evaluation split with labels.",
        )
    whole = config.eval.protocol == "whole"
    size = (
        (seen_size(config.eval, run.source.size(0)) or run.source.size(0))
        if whole
        else config.eval.crop
    )
    batch_size = config.eval.batch_size or config.train.batch_size // config.train.accumulate
    scores = metrics.scores(total, absent=config.eval.absent, boundary=boundary)
    return Measured(
        name=name,
        config=config,
        source=run.source,
        step=run.step,
        scores=scores | {"protocol": describe(config.eval)},
        confusion=total,
        image_iou=image_iou,
        image_pixels=image_pixels,
        log=read_log(run.log),
        parameters=sum(a.size for a in jax.tree.leaves(run.variables["params"])),
        flops=count_flops(
            functools.partial(run.model.apply, method="heads"),
            run.variables,
            jax.ShapeDtypeStruct((1, *size, run.model.preprocessing.channels), jnp.float32),
        ),
        input_size=size,
        batch_size=batch_size,
        images_per_second=_speed(run, size, run.source.size(0) if whole else size, batch_size),
        _predictions=predictions,
    )


def read_log(path: pathlib.Path) -> list[dict[str, Any]]:
    """The entries of a `metrics.jsonl`; skips lines without an entry, such as a killed run may
    leave, and reports them on stderr."""
    found = [entry for _, entry in log_lines(path)]
    entries = [entry for entry in found if entry is not None]
    if len(found) > len(entries):
        print(left_out(path, len(found) - len(entries)), file=sys.stderr)
    return entries


def _speed(
    run: TrainedRun, size: tuple[int, int], labels: tuple[int, int], batch_size: int
) -> float:
    """Images per second of the median batch, after one for compilation; reads no files.

    Args:
      run: the network and its images.
      size: (height, width) of the network's input.
      labels: (height, width) of its labels.
      batch_size: images per batch.
    """
    images = jnp.asarray(np.stack([resize_image(run.source[0].image, size)] * batch_size))
    seconds = []
    for _ in range(1 + _TIMED):
        begun = time.perf_counter()
        image_labels(run.model, run.variables, images, labels).block_until_ready()
        seconds.append(time.perf_counter() - begun)
    return batch_size / statistics.median(seconds[1:])
