"""The Dice loss: overlap of prediction and truth, class by class."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxseg.losses.inputs import Upsample, checked, ratio
from jaxseg.ops.dispatch import on_any_mesh
from jaxseg.ops.strips import Strips, in_strips
from jaxseg.ops.upsampling import Upsampling


@on_any_mesh("whole")
def dice(
    coarse_logits: ArrayLike,
    labels: ArrayLike,
    upsample: Upsample = None,
    *,
    ignore_label: int = 255,
    class_weights: Sequence[float] | None = None,
    strip_rows: int | None = None,
) -> jax.Array:
    """Soft Dice loss (Milletari et al. 2016, section 3, with plain sums in the denominator).

    For a class c it is 1 - 2 sum(p_c * t_c) / (sum(p_c) + sum(t_c)), with the softmax p and the
    truth t, over the labelled pixels of the whole batch. The loss is the mean over the classes that
    occur in the truth; the others would only push their probability down everywhere.

    A first pass over the image computes the sums, and a second pass the gradient from them.

    Args:
      class_weights: weight of each class in the mean; None: all 1.
      coarse_logits, labels, upsample, ignore_label, strip_rows: as in `cross_entropy`.

    Returns:
      float32 scalar in 0..1; it and its gradient are exactly 0 for a batch that is all
      `ignore_label`.

    Raises:
      InputError: as `cross_entropy`.

    >>> labels = jnp.array([[[0, 0, 1, 255]]])
    >>> round(float(dice(jnp.zeros([1, 1, 4, 2]), labels)), 4)  # 1 - (2/3.5 + 1/2.5) / 2
    0.5143
    """
    inputs = checked(coarse_logits, labels, upsample, ignore_label, class_weights)
    common, predicted = _sums(inputs.logits, inputs.labels, inputs.upsampling, strip_rows)
    classes = inputs.logits.shape[-1]
    true = jnp.zeros(classes + 1, jnp.int32).at[inputs.labels].add(1)[:classes]
    counts = jnp.where(true > 0, inputs.weights[:classes], 0)
    losses = 1 - ratio(2 * common, predicted + true)
    return ratio((counts * losses).sum(), counts.sum())


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _sums(
    logits: jax.Array, labels: jax.Array, upsampling: Upsampling, strip_rows: int | None
) -> tuple[jax.Array, jax.Array]:
    """For each class, [C] float32: its probability on its own pixels, and on all labelled ones.

    Takes logits [N, h, w, C] float32 and labels [N, H, W] (C: ignored).
    """
    return in_strips(_sums_in, upsampling, strip_rows, logits, labels)


def _sums_in(strips: Strips, logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    classes = logits.shape[-1]

    def body(carry, start, rows, strip_labels):
        p = jax.nn.softmax(strips.read(logits, start, rows))  # [N, rows, W, C]
        chosen = strip_labels[..., None] == jnp.arange(classes)
        labelled = strip_labels[..., None] < classes
        parts = (jnp.where(where, p, 0).sum(axis=(0, 1, 2)) for where in (chosen, labelled))
        return tuple(total + part for total, part in zip(carry, parts, strict=True)), None

    zeros = jnp.zeros(classes, jnp.float32)
    return strips.scan(body, (zeros, zeros), strips.split(labels, classes))[0]


def _forward(logits, labels, upsampling, strip_rows):
    return _sums(logits, labels, upsampling, strip_rows), (logits, labels)


def _backward(upsampling, strip_rows, kept, cotangents):
    gradient = in_strips(_gradient_in, upsampling, strip_rows, *kept, *cotangents)
    return gradient, None


def _gradient_in(strips, logits, labels, of_common, of_predicted):
    classes = logits.shape[-1]

    def body(gradient, start, rows, strip_labels):
        p = jax.nn.softmax(strips.read(logits, start, rows))
        chosen = strip_labels[..., None] == jnp.arange(classes)
        dp = of_predicted + jnp.where(chosen, of_common, 0)
        dx = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
        dx = jnp.where(strip_labels[..., None] < classes, dx, 0)
        return strips.add_transposed(gradient, dx, start, rows), None

    return strips.scan(body, jnp.zeros_like(logits), strips.split(labels, classes))[0]


_sums.defvjp(_forward, _backward)
