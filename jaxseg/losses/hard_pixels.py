"""Online hard example mining: cross-entropy of the pixels with the least certain predictions."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxseg.errors import InputError
from jaxseg.losses.inputs import Inputs, Upsample, checked
from jaxseg.losses.pixelwise import cross_entropy
from jaxseg.ops.dispatch import on_any_mesh
from jaxseg.ops.strips import Strips, in_strips
from jaxseg.ops.varying import varying_as

_INFINITY = 0x7F800000  # float32's bits; for numbers from 0 on, bits and numbers have one order


@on_any_mesh("whole")
def ohem(
    coarse_logits: ArrayLike,
    labels: ArrayLike,
    upsample: Upsample = None,
    *,
    threshold: float = 0.7,
    share: float = 0.1,
    ignore_label: int = 255,
    class_weights: Sequence[float] | None = None,
    smoothing: float = 0.0,
    strip_rows: int | None = None,
) -> jax.Array:
    """Mean cross-entropy of hard pixels (Shrivastava et al. 2016, for pixels as in Wu et al. 2016).

    A pixel is hard if the probability of its true class is below `threshold`, or if it is among the
    `share` of the batch's labelled pixels with the lowest such probability (including ties with the
    last of them). The image is processed twice: once for the probability of each pixel, one stored
    number per pixel, and once for the loss. The selection has no gradient. Pixels are not sorted:
    bisection finds the probability bound, with one sum over pixels per step.

    Args:
      threshold: a probability, in 0..1; 0: only the share counts.
      share: of the labelled pixels, in 0..1; 0: only the threshold counts.
      class_weights: weight of each class; the selection of hard pixels does not use it.
      coarse_logits, labels, upsample, ignore_label, smoothing, strip_rows: as in `cross_entropy`.

    Returns:
      float32 scalar; it and its gradient are exactly 0 if no pixel is hard.

    Raises:
      InputError: as `cross_entropy`, or a threshold or share out of range.

    >>> logits = jnp.array([[[[3.0, 0.0], [0.0, 3.0], [1.0, 0.0]]]])
    >>> labels = jnp.zeros([1, 1, 3], int)
    >>> easy_too = cross_entropy(logits, labels)  # -log p: 0.05, 3.05, 0.31
    >>> [round(float(a), 2) for a in (easy_too, ohem(logits, labels, threshold=0.6, share=0.0))]
    [1.14, 3.05]
    """
    for name, value in {"threshold": threshold, "share": share}.items():
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}.", "Give a number in 0..1.")
    inputs = checked(coarse_logits, labels, upsample, ignore_label, class_weights)
    losses = jax.lax.stop_gradient(_losses(inputs, strip_rows))
    labelled = inputs.labels < inputs.logits.shape[-1]
    count = jnp.ceil(share * labelled.sum()).astype(jnp.int32)
    sure = -math.log(threshold) if threshold else math.inf
    in_share = losses >= _nth_largest(jnp.where(labelled, losses, 0), count)
    hard = ~(losses <= sure) | in_share  # a NaN is hard, so that the loss becomes NaN
    return cross_entropy(
        coarse_logits,
        jnp.where(hard & labelled, inputs.labels, inputs.logits.shape[-1]),
        inputs.upsampling,
        ignore_label=inputs.logits.shape[-1],
        class_weights=class_weights,
        smoothing=smoothing,
        strip_rows=strip_rows,
    )


def _losses(inputs: Inputs, strip_rows: int | None) -> jax.Array:
    """-log p of the true class of every pixel, float32 [N, H, W], 0 or more."""
    return in_strips(_losses_in, inputs.upsampling, strip_rows, inputs.logits, inputs.labels)


def _losses_in(strips: Strips, logits: jax.Array, labels: jax.Array) -> jax.Array:
    classes = jnp.arange(logits.shape[-1])

    def body(carry, start, rows, labels):
        x = strips.read(logits, start, rows)
        right = jnp.where(labels[..., None] == classes, x, 0).sum(axis=-1)
        return carry, jnp.maximum(jax.nn.logsumexp(x, axis=-1) - right, 0)

    _, parts = strips.scan(body, None, strips.split(labels, logits.shape[-1]))
    return strips.join(parts)


def _nth_largest(values: jax.Array, n: jax.Array) -> jax.Array:
    """The n-th largest of `values`, float32 of 0 or more; infinity for n = 0."""
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)

    def halve(_, bounds):  # invariant: at least n values are >= low, fewer are >= high
        low, high = bounds
        middle = low + (high - low) // 2
        enough = (bits >= middle).sum() >= n
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    init = varying_as((jnp.int32(0), jnp.int32(_INFINITY)), bits)
    low, _ = jax.lax.fori_loop(0, 31, halve, init)
    return jnp.where(n > 0, jax.lax.bitcast_convert_type(low, jnp.float32), jnp.inf)
