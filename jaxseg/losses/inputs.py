"""The common arguments of all losses: logits, labels and an upsampling with matching sizes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxseg.errors import InputError
from jaxseg.ops.checks import as_array, check_labels
from jaxseg.ops.upsampling import Upsampling, align_corners, identity

Upsample = tuple[int, int] | Upsampling | None
"""The map from [h, w] to [H, W]: (H, W) for align-corners bilinear, an `Upsampling` (that of a
network, see `Head.upsampling`), or None if the logits are at label resolution."""


class Inputs(NamedTuple):
    """The checked arguments of a loss."""

    logits: jax.Array  # [N, h, w, C] float32
    labels: jax.Array  # [N, H, W] integers, 0..C-1, and C for ignored pixels
    weights: jax.Array  # [C + 1] float32, the weight of each label; the last is 0
    upsampling: Upsampling


def checked(
    coarse_logits: jax.Array,
    labels: jax.Array,
    upsample: Upsample,
    ignore_label: int,
    class_weights: Sequence[float] | None,
) -> Inputs:
    """Checks the arguments of a loss and converts them to one form.

    Raises:
      InputError: shapes that do not match, or labels out of range (only outside `jit`, where the
        values are known; inside, such pixels are ignored).
    """
    coarse_logits, labels = as_array(coarse_logits), as_array(labels)
    if coarse_logits.ndim != 4 or labels.ndim != 3 or coarse_logits.shape[0] != labels.shape[0]:
        raise InputError(
            f"Logits of shape {coarse_logits.shape} do not match labels of shape {labels.shape}.",
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
    labels, weights = weighted(labels, num_classes, ignore_label, class_weights)
    return Inputs(coarse_logits.astype(jnp.float32), labels, weights, upsample)


def labelled_weight(
    labels: ArrayLike,
    num_classes: int,
    *,
    ignore_label: int = 255,
    class_weights: Sequence[float] | None = None,
) -> jax.Array:
    """The denominator of `cross_entropy`'s mean: the number of labelled pixels, or their weight.

    The mean over a batch is the sum of the means over its parts, each multiplied by the part's
    share of this number.

    Args:
      labels: [..., H, W] integers, 0..C-1 or `ignore_label`.
      num_classes: the number of classes, C.
      ignore_label, class_weights: as in `cross_entropy`.

    Returns:
      float32, one number per index of the leading axes.

    >>> float(labelled_weight(jnp.array([[0, 1, 255]]), 2, class_weights=(0.5, 2.0)))
    2.5
    """
    labels, weights = weighted(labels, num_classes, ignore_label, class_weights)
    return weights[labels].sum(axis=(-2, -1))


def weighted(
    labels: jax.Array, num_classes: int, ignore_label: int, class_weights: Sequence[float] | None
) -> tuple[jax.Array, jax.Array]:
    """Labels 0..C, with C for ignored pixels, and the weights [C + 1]."""
    labels = as_array(labels)
    weights = checked_weights(class_weights, num_classes)
    labels = labels.astype(jnp.int32)
    ignored = (labels < 0) | (labels >= num_classes) | (labels == ignore_label)
    # One byte per pixel if possible: with few classes, labels take most of the memory.
    kept = jnp.where(ignored, num_classes, labels).astype(_label_dtype(num_classes))
    return kept, jnp.asarray((*weights, 0.0), jnp.float32)


def _label_dtype(num_classes: int) -> Any:
    return jnp.uint8 if num_classes <= 255 else jnp.int32


def checked_weights(class_weights: Sequence[float] | None, num_classes: int) -> tuple[float, ...]:
    """One weight per class; all 1 if `class_weights` is None.

    Raises:
      InputError: the number of weights is not `num_classes`, or one is below 0 or not finite.
    """
    weights = (1.0,) * num_classes if class_weights is None else tuple(map(float, class_weights))
    if len(weights) != num_classes or not all(0 <= weight < math.inf for weight in weights):
        raise InputError(
            f"There are {len(weights)} class weights for {num_classes} classes: {weights}.",
            "Give one finite weight of 0 or more for each class, or None: "
            "config.loss.class_weights=None. `python -m jaxseg check` prints weights for a data "
            "set.",
        )
    return weights


def ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """`part / whole`, or 0 if `whole` is 0."""
    return jnp.where(whole == 0, 0, part / jnp.where(whole == 0, 1, whole))
