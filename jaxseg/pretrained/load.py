"""Loads published weights into a network."""

import logging
import os
from typing import Any

import flax.linen as nn
import jax

from jaxseg.pretrained.converters.source import Fit
from jaxseg.pretrained.fill import fill, fitting
from jaxseg.pretrained.read import read_weights
from jaxseg.pretrained.report import ImportReport
from jaxseg.pretrained.tensor_file import TensorFile


def load_pretrained(
    model: nn.Module,
    path: str | os.PathLike,
    source: str | None = None,
    head: str = "keep",
    *,
    rng: jax.Array | None = None,
    image_size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """A network's variables, filled from a file of published weights.

    Args:
      model: the network.
      path: a `.caffemodel`, `.pth` or `.safetensors` file, a folder that jaxseg exported, or the
        workdir of a run.
      source: project that the file comes from ("caffe", "torchvision", ...); None: detected from
        the tensor names.
      head: "keep" to reproduce the original logits; "reset" to leave the logits layers at their
        initial values, for training on other classes.
      rng: key of the initial values that the file does not have; None: `jax.random.key(0)`.
      image_size: (height, width) of an image that the network supports, if it does not support
        224×224.

    Returns:
      Variables as from `model.init(rng, images)`, float32. Missing and unused tensors are logged as
      a warning; `jaxseg.pretrained.load` returns them as a report.

    Raises:
      InputError: a file that cannot be read or has an unknown kind; a network that does not match
        it; or a tensor that is missing, has another shape, or has values that are not finite.
    """
    variables, report = load(model, path, source, head, rng=rng, image_size=image_size)
    said = report.kept or None in report.unused.values()  # otherwise there is nothing to warn of
    logging.getLogger(__name__).log(logging.WARNING if said else logging.INFO, str(report))
    return variables


def load(
    model: nn.Module,
    path: str | os.PathLike | TensorFile,
    source: str | None = None,
    head: str = "keep",
    *,
    rng: jax.Array | None = None,
    image_size: tuple[int, int] | None = None,
) -> tuple[dict[str, Any], ImportReport]:
    """Like `load_pretrained`; also returns a report on every parameter and every tensor."""
    return fill(model, read_weights(path), source, head, rng=rng, image_size=image_size)


def suggest(
    path: str | os.PathLike | TensorFile, model: str | None = None, source: str | None = None
) -> Fit:
    """Returns the network to create for a file.

    Args:
      path: the file, or its opened weights.
      model: name of the network, for a file that fits several.
      source: project that the file comes from, as in `load_pretrained`.

    Raises:
      InputError: the file cannot be read, has an unknown kind, or does not fit that network.
    """
    return fitting(read_weights(path), model, source)
