"""The programs of a run for devices that are not present; only shapes are created."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from jaxseg.benchmark.compile_for.described import Described
from jaxseg.benchmark.plain import plain_step
from jaxseg.distributed.mesh import make_mesh, replicated, split_batch
from jaxseg.evaluation.evaluator import Evaluator
from jaxseg.inference.padding import padded_logits
from jaxseg.training.setup import Program


class Step(NamedTuple):
    """A jitted function, with the arguments to lower it.

    Attributes:
      function: a jitted function with shardings for the topology's devices.
      arguments: pytrees of `jax.ShapeDtypeStruct`s.
      batch_size: number of images over all devices.
      size: (height, width) of an image.
    """

    function: Any
    arguments: tuple[Any, ...]
    batch_size: int
    size: tuple[int, int]


def train(config: ml_collections.ConfigDict, data: Described, devices: Sequence) -> Step:
    """The train step of a run: state, images, labels."""
    program = Program(config, data, devices=devices)
    batch = config.train.batch_size
    images, labels = _batch(program.model, batch, program.size)
    return Step(program.step, (program.like, images, labels), batch, program.size)


def evaluation(config: ml_collections.ConfigDict, data: Described, devices: Sequence) -> Step:
    """The step that labels a batch of whole images and counts its confusion matrix."""
    model, evaluator, variables, batch, seen, size = _evaluator(config, data, devices)
    images, _ = _batch(model, batch, seen)
    _, labels = _batch(model, batch, size)
    classes = data.info.num_classes
    total = jax.ShapeDtypeStruct((classes, classes), jnp.int32)
    return Step(evaluator.count, (variables, images, labels, total, None), batch, seen)


def forward(config: ml_collections.ConfigDict, data: Described, devices: Sequence) -> Step:
    """The network without other steps: uint8 images to coarse logits."""
    model, evaluator, variables, batch, seen, _ = _evaluator(config, data, devices)

    def forward(variables, images):
        return padded_logits(model, variables, images, seen, None)[0]

    whole, split = replicated(evaluator.mesh), split_batch(evaluator.mesh)
    function = jax.jit(forward, in_shardings=(whole, split), out_shardings=split)
    images, _ = _batch(model, batch, seen)
    return Step(function, (variables, images), batch, seen)


STEPS: dict[str, Callable[[ml_collections.ConfigDict, Described, Sequence], Step]] = {
    "train": train,
    "eval": evaluation,
    "forward": forward,
}
"""The programs by name on the command line."""


def plain_form(model: nn.Module, what: str, step: Step, devices: Sequence) -> Step:
    """The same step of the same network in plain Flax and Optax."""
    images, labels = _batch(model, step.batch_size, step.size)
    mesh = make_mesh(step.batch_size, devices=devices)
    function, arguments = plain_step(model, what, mesh, images, labels)
    return Step(function, arguments, step.batch_size, step.size)


def _batch(model: nn.Module, number: int, size: tuple[int, int]):
    """Shapes of images, as the network takes them, and of labels."""
    expected = model.preprocessing
    images = jax.ShapeDtypeStruct((number, *size, expected.channels), jnp.dtype(expected.dtype))
    return images, jax.ShapeDtypeStruct((number, *size), jnp.uint8)


def _evaluator(config: ml_collections.ConfigDict, data: Described, devices: Sequence):
    """Network, evaluator, shapes of the variables, batch size, sizes of images and labels."""
    program = Program(config, data, devices=devices)
    evaluator = Evaluator.of_run(program.model, data, config, devices)
    batch = config.eval.batch_size or config.train.batch_size // config.train.accumulate
    size = tuple(data.size(0))
    if config.eval.protocol != "whole":
        seen = size = tuple(config.eval.crop)
    else:
        seen = tuple(config.eval.input_size or size)
    return program.model, evaluator, program.like.variables, batch, seen, size
