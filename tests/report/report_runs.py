"""Invented runs on generated scenes: content for a page, without a network."""

import zlib

import numpy as np

from jaxseg import metrics
from jaxseg.config import default_config
from jaxseg.data import Scenes
from jaxseg.report.measure import Measured

SIZE = (40, 56)


def made_up_runs(names, count=7, size=SIZE):
    """Makes a run for each name; its predictions are the truth, partly replaced."""
    source = Scenes(0, count, size)
    return [_made_up(name, source, 0.1 * (k + 1), k) for k, name in enumerate(names)]


def _made_up(name, source, noise, seed):
    rng = np.random.default_rng(seed)
    classes, absent = source.info.num_classes, source.info.num_classes - 1
    config = default_config()
    config.data.scenes_size = source.size(0)
    config.train.steps = 7
    total, iou, pixels, predictions = np.zeros((classes, classes), np.int64), [], [], []
    for index in range(len(source)):
        truth = source[index].label
        truth = np.where(truth == absent, 255, truth)  # no pixel has the last class
        prediction = np.where(truth == 255, 0, truth)
        columns = rng.random(truth.shape[1]) < noise * (index + 1) / len(source)
        prediction[:, columns] = rng.integers(0, absent, (truth.shape[0], columns.sum()))
        known = truth != 255
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (truth[known], prediction[known]), 1)
        total += confusion
        iou.append(metrics.scores(confusion)["mean_iou"])
        pixels.append(confusion.sum(axis=1))
        predictions.append(zlib.compress(prediction.astype(np.uint8).tobytes()))
    steps = np.arange(1, 8)
    log = [{"kind": "train", "step": int(s), "loss": 2 / s, "learning_rate": 0.1} for s in steps]
    log += [{"kind": "eval", "step": int(s), "mean_iou": 1 - 1 / s} for s in steps[1::3]]
    return Measured(
        name=name,
        config=config,
        source=source,
        step=7,
        scores=metrics.scores(total) | {"protocol": "whole images"},
        confusion=total,
        image_iou=np.array(iou),
        image_pixels=np.array(pixels),
        log=log,
        parameters=1_234_567,
        flops=3.21e9,
        input_size=source.size(0),
        batch_size=8,
        images_per_second=12.34,
        _predictions=predictions,
    )
