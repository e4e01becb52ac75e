"""The Lovász-softmax loss: a convex surrogate of 1 - mean IoU."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxseg.losses.inputs import Upsample, checked, ratio
from jaxseg.ops.dispatch import on_any_mesh
from jaxseg.ops.strips import Strips, in_strips
from jaxseg.ops.upsampling import Upsampling
from jaxseg.ops.varying import varying_as


@on_any_mesh("whole")
def lovasz(
    coarse_logits: ArrayLike,
    labels: ArrayLike,
    upsample: Upsample = None,
    *,
    ignore_label: int = 255,
    class_weights: Sequence[float] | None = None,
    strip_rows: int | None = None,
) -> jax.Array:
    """Lovász-softmax (Berman et al. 2018, equations 8 to 12), over all pixels of the batch.

    For each class, pixels are sorted by their error, the distance of probability and truth. Each
    error is weighted by the increase of 1 - IoU when its pixel is added to the wrong ones. The loss
    is the mean over the classes in the truth, as in the paper.

    Pixels cannot be sorted strip by strip, so this loss processes one class at a time, with its map
    at full resolution. Memory grows with the image, not with the number of classes. Each class
    needs one sort of all pixels. XLA's sort is slow on the CPU: with 21 classes the loss takes
    about 200 times as long as `cross_entropy` there. With several devices, XLA gathers each map for
    its sort.

    Args:
      class_weights: weight of each class in the mean; None: all 1.
      coarse_logits, labels, upsample, ignore_label: as in `cross_entropy`.
      strip_rows: rows in memory at a time for the parts without sorting.

    Returns:
      float32 scalar in 0..1; it and its gradient are exactly 0 for a batch that is all
      `ignore_label`.

    Raises:
      InputError: as `cross_entropy`.

    >>> labels = jnp.array([[[0, 0, 1]]])
    >>> right = 20 * jax.nn.one_hot(labels, 2)
    >>> round(float(lovasz(right, labels)), 4), round(float(lovasz(-right, labels)), 4)
    (0.0, 1.0)
    """
    inputs = checked(coarse_logits, labels, upsample, ignore_label, class_weights)
    classes = inputs.logits.shape[-1]
    present = jnp.zeros(classes + 1, bool).at[inputs.labels].set(True)[:classes]
    counts = jnp.where(present, inputs.weights[:classes], 0)
    shares = ratio(counts, counts.sum())
    return _loss(inputs.logits, inputs.labels, shares, inputs.upsampling, strip_rows)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _loss(
    logits: jax.Array,
    labels: jax.Array,
    shares: jax.Array,
    upsampling: Upsampling,
    strip_rows: int | None,
) -> jax.Array:
    """The sum over classes of share [C] times loss; logits and labels as in `Inputs`."""
    return _walk(logits, labels, shares, upsampling, strip_rows, with_gradient=False)[0]


def _forward(logits, labels, shares, upsampling, strip_rows):
    return _walk(logits, labels, shares, upsampling, strip_rows, with_gradient=True)


def _backward(upsampling, strip_rows, gradient, cotangent):
    return gradient * cotangent, None, None


_loss.defvjp(_forward, _backward)


def _walk(logits, labels, shares, upsampling, strip_rows, *, with_gradient):
    """The loss and its gradient with respect to the logits.

    With g_c the loss's derivative with respect to p_c, the one with respect to the upsampled logit
    x_c is p_c * (g_c - s), with s = sum(p_k * g_k). A first pass over the classes computes s and
    the coarse gradient of p_c * g_c. A second pass, without sorting, subtracts that of p_c * s.
    """
    walk = functools.partial(_walk_in, upsampling=upsampling, with_gradient=with_gradient)
    return in_strips(walk, upsampling, strip_rows, logits, labels, shares)


def _walk_in(strips, logits, labels, shares, *, upsampling, with_gradient):
    labelled = labels < logits.shape[-1]
    log_z = _log_z(strips, logits, labels)
    by_class = jnp.moveaxis(logits, -1, 0)[..., None]  # [C, N, h, w, 1]
    numbers = jnp.arange(logits.shape[-1])

    def probability(coarse):
        return jnp.where(labelled, jnp.exp(upsampling(coarse)[..., 0] - log_z), 0)

    def first(carry, of_class):
        loss, s = carry
        coarse, number, share = of_class
        p, truth = probability(coarse), labels == number
        error = jnp.where(truth, 1 - p, p)
        count = jnp.where(share > 0, share * _increments(error, truth, labelled), 0)
        loss = loss + (count * error).sum()
        if not with_gradient:
            return (loss, s), None
        pg = p * jnp.where(truth, -count, count)
        return (loss, s + pg), transposed(pg)

    def second(_, coarse):
        return None, transposed(probability(coarse) * s)

    def transposed(full):
        def add(total, start, rows, strip):
            return strips.add_transposed(total, strip[..., None], start, rows), None

        return strips.scan(add, jnp.zeros_like(by_class[0]), strips.split(full, 0))[0]

    init = (jnp.float32(0), jnp.zeros(labels.shape, jnp.float32))
    init = varying_as(init, by_class, labels, shares)
    (loss, s), of_pg = jax.lax.scan(first, init, (by_class, numbers, shares))
    if not with_gradient:
        return loss, None
    _, of_ps = jax.lax.scan(second, None, by_class)
    return loss, jnp.moveaxis((of_pg - of_ps)[..., 0], 0, -1)


def _log_z(strips: Strips, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The logarithm of each pixel's softmax denominator, [N, H, W]."""

    def body(carry, start, rows, _):
        return carry, jax.nn.logsumexp(strips.read(logits, start, rows), axis=-1)

    return strips.join(strips.scan(body, None, strips.split(labels, 0))[1])


def _increments(error: jax.Array, truth: jax.Array, labelled: jax.Array) -> jax.Array:
    """The increase of 1 - IoU for each pixel, if pixels become wrong in order of falling error.

    It has a closed form, in the number of the class's pixels that are still right and the size of
    the union so far. A difference of two values of 1 - IoU would lose digits for many pixels.
    """
    keys = jnp.where(labelled, -error, 1).ravel()  # ignored pixels come last
    _, order = jax.lax.sort_key_val(keys, jnp.arange(keys.size))
    of_class = truth.ravel()[order]
    all_of_class = of_class.sum()
    others = jnp.cumsum(~of_class)  # pixels of other classes that are wrong so far
    right = all_of_class - jnp.cumsum(of_class)
    union = (all_of_class + others).astype(jnp.float32)
    added = jnp.where(of_class, 1 / union, right / union / jnp.maximum(union - 1, 1))
    added = jnp.where(labelled.ravel()[order], added, 0)
    return jnp.zeros_like(added).at[order].set(added, unique_indices=True).reshape(error.shape)
