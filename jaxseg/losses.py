"""The loss: per-pixel cross-entropy that walks the image in strips.

Full-resolution logits are upsampled, reduced and dropped strip by strip, and the gradient with
respect to the coarse logits is made in the same walk, so memory grows with a strip, not the image.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxseg.checks import check_labels
from jaxseg.errors import InputError, nearest
from jaxseg.ops.strips import Strips
from jaxseg.ops.upsampling import Upsampling, align_corners, identity


def cross_entropy(
    coarse_logits: jax.Array,
    labels: jax.Array,
    upsample: tuple[int, int] | Upsampling | None = None,
    *,
    ignore_label: int = 255,
    class_weights: Sequence[float] | None = None,
    reduction: str = "mean",
    strip_rows: int = 16,
) -> jax.Array:
    """Softmax cross-entropy of upsampled logits against a label map.

    Args:
      coarse_logits: [N, h, w, C] floating point; the sums are float32.
      labels: [N, H, W] integers, 0..C-1 or `ignore_label`.
      upsample: how [h, w] becomes [H, W]: (H, W) for align-corners bilinear, an `Upsampling` (a
        network's own, see `Head.upsampling`), or None where the logits are at label resolution.
      ignore_label: the label of pixels that count nothing.
      class_weights: what a pixel of each class counts, C values of 0 or more; None: 1 each. The
        mean is then
        weighted: the sum of weighted losses over the sum of weights, as in PyTorch.
      reduction: "mean" over the labelled pixels of the whole batch (0 where there is none), or
        "sum" over them divided by N (the unnormalised loss of the released FCN: Caffe's `normalize:
        false`).
      strip_rows: rows of the full-resolution map that exist at a time.

    Returns:
      float32 scalar; it and its gradient are exactly 0 for a batch that is all `ignore_label`.

    Raises:
      InputError: shapes that do not belong together, or labels out of range (the latter only where
        the labels' values are known, that is outside `jit`; inside, such pixels count nothing).

    >>> logits = jnp.zeros([1, 2, 2, 4])
    >>> labels = jnp.array([[[0, 1, 2], [3, 255, 255]]])
    >>> round(float(cross_entropy(logits, labels, upsample=(2, 3))), 4)  # ln 4
    1.3863
    """
    if reduction not in ("mean", "sum"):
        raise InputError(f"reduction is '{reduction}'.", nearest(reduction, ("mean", "sum")))
    if coarse_logits.ndim != 4 or labels.ndim != 3 or coarse_logits.shape[0] != labels.shape[0]:
        raise InputError(
            f"Logits of shape {coarse_logits.shape} and labels of shape {labels.shape} "
            "do not belong together.",
            "Give logits [N, h, w, C] and labels [N, H, W].",
        )
    if upsample is None:
        upsample = identity(coarse_logits.shape[1:3])
    elif not isinstance(upsample, Upsampling):
        upsample = align_corners(coarse_logits.shape[1:3], upsample)
    if (upsample.in_size, upsample.out_size) != (coarse_logits.shape[1:3], labels.shape[1:3]):
        raise InputError(
            f"The upsampling maps {upsample.in_size} to {upsample.out_size}, "
            f"but the logits are {coarse_logits.shape[1:3]} and the labels {labels.shape[1:3]}.",
            "Upsample to the labels' height and width.",
        )
    num_classes = coarse_logits.shape[-1]
    check_labels(labels, num_classes, ignore_label, "labels")
    labels, pixel_weights = _weighted(labels, num_classes, ignore_label, class_weights)
    sums = _sums(coarse_logits.astype(jnp.float32), labels, pixel_weights, upsample, strip_rows)
    if reduction == "sum":
        return sums.sum() / labels.shape[0]
    total = pixel_weights[labels].sum()
    return sums.sum() / jnp.where(total > 0, total, 1)


def labelled_weight(
    labels: jax.Array,
    num_classes: int,
    *,
    ignore_label: int = 255,
    class_weights: Sequence[float] | None = None,
) -> jax.Array:
    """What `cross_entropy` divides by for its mean: the number of labelled pixels, or their weight.

    Means of parts of a batch, each times its share of this number, add up to the mean of the whole.

    Args:
      labels: [..., H, W] integers, 0..C-1 or `ignore_label`.
      num_classes: C.
      ignore_label, class_weights: as in `cross_entropy`.

    Returns:
      float32, one number for each index of the leading axes.

    >>> float(labelled_weight(jnp.array([[0, 1, 255]]), 2, class_weights=(0.5, 2.0)))
    2.5
    """
    labels, pixel_weights = _weighted(labels, num_classes, ignore_label, class_weights)
    return pixel_weights[labels].sum(axis=(-2, -1))


def _weighted(labels, num_classes, ignore_label, class_weights) -> tuple[jax.Array, jax.Array]:
    """Labels as int32 0..C, with C for ignored pixels, and the weights [C + 1] of those."""
    weights = (1.0,) * num_classes if class_weights is None else tuple(map(float, class_weights))
    if len(weights) != num_classes or min(weights) < 0:
        raise InputError(
            f"There are {len(weights)} class weights, the lowest {min(weights)}, "
            f"for {num_classes} classes.",
            "Give one weight of 0 or more for each class.",
        )
    labels = labels.astype(jnp.int32)
    ignored = (labels < 0) | (labels >= num_classes) | (labels == ignore_label)
    return jnp.where(ignored, num_classes, labels), jnp.asarray((*weights, 0.0), jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _sums(
    logits: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    upsampling: Upsampling,
    strip_rows: int,
) -> jax.Array:
    """Each image's weighted sum of cross-entropy, [N] float32.

    Takes logits [N, h, w, C] float32, labels [N, H, W] int32 (C: ignored) and the weights [C + 1]
    of labels.
    """
    return _walk(logits, labels, weights, upsampling, strip_rows, with_gradient=False)[0]


def _forward(logits, labels, weights, upsampling, strip_rows):
    return _walk(logits, labels, weights, upsampling, strip_rows, with_gradient=True)


def _backward(upsampling, strip_rows, gradient, cotangent):
    return gradient * cotangent[:, None, None, None], None, None


_sums.defvjp(_forward, _backward)


def _walk(logits, labels, weights, upsampling, strip_rows, *, with_gradient):
    strips = Strips(upsampling, strip_rows)
    classes = jnp.arange(logits.shape[-1])

    def body(carry, start, rows, strip_labels):
        sums, gradient = carry
        x = strips.read(logits, start, rows)  # [N, rows, W, C]
        weight = weights[strip_labels]
        chosen = strip_labels[..., None] == classes
        top = x.max(axis=-1, keepdims=True)
        e = jnp.exp(x - top)
        z = e.sum(axis=-1, keepdims=True)
        loss = (jnp.log(z) + top)[..., 0] - jnp.where(chosen, x, 0).sum(axis=-1)
        sums = sums + jnp.where(weight > 0, weight * loss, 0).sum(axis=(1, 2))
        if with_gradient:
            dx = jnp.where(weight[..., None] > 0, weight[..., None] * (e / z - chosen), 0)
            gradient = strips.add_transposed(gradient, dx, start, rows)
        return (sums, gradient), None

    init = (
        jnp.zeros(logits.shape[0], jnp.float32),
        jnp.zeros_like(logits) if with_gradient else None,
    )
    (sums, gradient), _ = strips.scan(body, init, strips.split(labels, logits.shape[-1]))
    return sums, gradient
