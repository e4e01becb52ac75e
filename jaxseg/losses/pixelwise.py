"""Losses that are sums over pixels: cross-entropy and focal, computed in strips.

Full-resolution logits are upsampled, reduced and discarded strip by strip. The same pass computes
the gradient with respect to the coarse logits. Memory grows with a strip, not with the image.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxseg.errors import InputError, nearest
from jaxseg.losses.inputs import Inputs, Upsample, checked, ratio
from jaxseg.ops.dispatch import on_any_mesh
from jaxseg.ops.strips import in_strips
from jaxseg.ops.upsampling import Upsampling


@on_any_mesh("whole")
def cross_entropy(
    coarse_logits: ArrayLike,
    labels: ArrayLike,
    upsample: Upsample = None,
    *,
    ignore_label: int = 255,
    class_weights: Sequence[float] | None = None,
    smoothing: float = 0.0,
    reduction: str = "mean",
    strip_rows: int | None = None,
) -> jax.Array:
    """Softmax cross-entropy of upsampled logits against a label map.

    Args:
      coarse_logits: [N, h, w, C] floating point; the sums are float32.
      labels: [N, H, W] integers, 0..C-1 or `ignore_label`.
      upsample: the map from [h, w] to [H, W]: (H, W) for align-corners bilinear, an `Upsampling`
        (that of a network, see `Head.upsampling`), or None if the logits are at label resolution.
      ignore_label: the label of ignored pixels.
      class_weights: weight of each class, C values of 0 or more; None: all 1. The mean is then
        weighted: the sum of weighted losses over the sum of weights, as in PyTorch.
      smoothing: share of the target that is spread evenly over all classes, in 0..1; with class
        weights, the part of each class has its own weight, as in PyTorch.
      reduction: "mean" over the labelled pixels of the whole batch (0 if there are none), or "sum"
        over them divided by N (the unnormalised loss of the released FCN: Caffe's `normalize:
        false`).
      strip_rows: rows of the full-resolution map in memory at a time; None: chosen for the platform
        (see `jaxseg.ops.strips.in_strips`).

    Returns:
      float32 scalar; it and its gradient are exactly 0 for a batch that is all `ignore_label`.

    Raises:
      InputError: shapes that do not match, or labels out of range (only outside `jit`, where the
        values are known; inside, such pixels are ignored).

    >>> logits = jnp.zeros([1, 2, 2, 4])
    >>> labels = jnp.array([[[0, 1, 2], [3, 255, 255]]])
    >>> round(float(cross_entropy(logits, labels, upsample=(2, 3))), 4)  # ln 4
    1.3863
    """
    if not 0 <= smoothing <= 1:
        raise InputError(f"smoothing is {smoothing}.", "Give a fraction in 0..1.")
    inputs = checked(coarse_logits, labels, upsample, ignore_label, class_weights)
    return _reduced(inputs, reduction, _Form(strip_rows, smoothing=smoothing))


@on_any_mesh("whole")
def focal(
    coarse_logits: ArrayLike,
    labels: ArrayLike,
    upsample: Upsample = None,
    *,
    gamma: float = 2.0,
    ignore_label: int = 255,
    class_weights: Sequence[float] | None = None,
    reduction: str = "mean",
    strip_rows: int | None = None,
) -> jax.Array:
    """Focal loss (Lin et al. 2017, section 3): (1 - p)^gamma * -log p, p that of the true class.

    Args:
      gamma: exponent that reduces the weight of well-classified pixels, 0 or more; 0 is
        `cross_entropy`.
      class_weights: the paper's alpha. The mean is over labelled pixels and their weights as in
        `cross_entropy`, and not over objects as in detection.
      coarse_logits, labels, upsample, ignore_label, reduction, strip_rows: as in `cross_entropy`.

    Returns:
      float32 scalar; it and its gradient are exactly 0 for a batch that is all `ignore_label`.

    Raises:
      InputError: as `cross_entropy`, or a gamma below 0.

    >>> logits = jnp.zeros([1, 2, 2, 4])
    >>> round(float(focal(logits, jnp.zeros([1, 2, 2], int), gamma=1.0)), 4)  # 3/4 of ln 4
    1.0397
    """
    if not gamma >= 0:
        raise InputError(f"gamma is {gamma}.", "Give 0 or more.")
    inputs = checked(coarse_logits, labels, upsample, ignore_label, class_weights)
    return _reduced(inputs, reduction, _Form(strip_rows, gamma=gamma))


class _Form(NamedTuple):
    """The loss function and the height of its strips."""

    strip_rows: int | None
    smoothing: float = 0.0
    gamma: float = 0.0


def _reduced(inputs: Inputs, reduction: str, form: _Form) -> jax.Array:
    if reduction not in ("mean", "sum"):
        raise InputError(f"reduction is '{reduction}'.", nearest(reduction, ("mean", "sum")))
    sums = _sums(inputs.logits, inputs.labels, inputs.weights, inputs.upsampling, form)
    if reduction == "sum":
        return sums.sum() / inputs.labels.shape[0]
    return ratio(sums.sum(), inputs.weights[inputs.labels].sum())


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _sums(
    logits: jax.Array, labels: jax.Array, weights: jax.Array, upsampling: Upsampling, form: _Form
) -> jax.Array:
    """The weighted sum of losses of each image, [N] float32.

    Takes logits [N, h, w, C] float32, labels [N, H, W] (C: ignored) and the weights [C + 1]
    of labels.
    """
    return _walk(logits, labels, weights, upsampling, form, with_gradient=False)[0]


def _forward(logits, labels, weights, upsampling, form):
    return _walk(logits, labels, weights, upsampling, form, with_gradient=True)


def _backward(upsampling, form, gradient, cotangent):
    return gradient * cotangent[:, None, None, None], None, None


_sums.defvjp(_forward, _backward)


def _walk(logits, labels, weights, upsampling, form, *, with_gradient):
    walk = functools.partial(_walk_in, form=form, with_gradient=with_gradient)
    return in_strips(walk, upsampling, form.strip_rows, logits, labels, weights)


def _walk_in(strips, logits, labels, weights, *, form, with_gradient):
    of_pixels = _smoothed if form.smoothing else _focused if form.gamma else _plain

    def body(carry, start, rows, strip_labels):
        sums, gradient = carry
        x = strips.read(logits, start, rows)  # [N, rows, W, C]
        log_z, p = _softmax(x)
        if strips.made_again and with_gradient:
            again, log_z = jax.lax.optimization_barrier((logits, log_z))
            p = jnp.exp(strips.read(again, start, rows) - log_z[..., None])
        loss, dx = of_pixels(x, log_z, p, strip_labels, weights, form)
        sums = sums + loss.sum(axis=(1, 2))
        if with_gradient:
            gradient = strips.add_transposed(gradient, dx, start, rows)
        return (sums, gradient), None

    init = (
        jnp.zeros(logits.shape[0], jnp.float32),
        jnp.zeros_like(logits) if with_gradient else None,
    )
    (sums, gradient), _ = strips.scan(body, init, strips.split(labels, logits.shape[-1]))
    return sums, gradient


# Each of these functions takes a strip [N, rows, W, C], the logarithm of its softmax's denominator
# and the softmax. It returns weighted losses [N, rows, W] and their gradient [N, rows, W, C].
# Values of ignored pixels are replaced by 0 and not multiplied by it, because they may be infinite.


def _plain(x, log_z, p, labels, weights, form):
    weight = weights[labels]
    chosen = labels[..., None] == jnp.arange(x.shape[-1])
    loss = log_z - jnp.where(chosen, x, 0).sum(axis=-1)
    dx = weight[..., None] * (p - chosen)
    return jnp.where(weight > 0, weight * loss, 0), jnp.where(weight[..., None] > 0, dx, 0)


def _focused(x, log_z, p, labels, weights, form):
    weight = weights[labels]
    chosen = labels[..., None] == jnp.arange(x.shape[-1])
    loss = jnp.maximum(log_z - jnp.where(chosen, x, 0).sum(axis=-1), 0)
    missing = -jnp.expm1(-loss)  # 1 - p of the true class
    rest = jnp.where(missing > 0, missing, 1)
    factor = jnp.where(missing > 0, rest**form.gamma, 0)
    slope = jnp.where(missing > 0, form.gamma * rest ** (form.gamma - 1) * loss * (1 - missing), 0)
    dx = (weight * (factor + slope))[..., None] * (p - chosen)
    counts = weight > 0
    return jnp.where(counts, weight * factor * loss, 0), jnp.where(counts[..., None], dx, 0)


def _smoothed(x, log_z, p, labels, weights, form):
    classes = x.shape[-1]
    labelled = labels < classes
    chosen = labels[..., None] == jnp.arange(classes)
    target = form.smoothing / classes * weights[:classes] + (1 - form.smoothing) * jnp.where(
        chosen, weights[labels][..., None], 0
    )
    total = target.sum(axis=-1)
    # sums differences to log z, because x alone may be large
    loss = (target * (log_z[..., None] - x)).sum(axis=-1)
    dx = total[..., None] * p - target
    return jnp.where(labelled, loss, 0), jnp.where(labelled[..., None], dx, 0)


def _softmax(x):
    """The logarithm of the softmax's denominator, [N, rows, W], and the softmax."""
    top = x.max(axis=-1, keepdims=True)
    e = jnp.exp(x - top)
    z = e.sum(axis=-1, keepdims=True)
    return (jnp.log(z) + top)[..., 0], e / z
