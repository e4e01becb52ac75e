"""Counts of pairs of classes."""

import jax
import jax.numpy as jnp

from jaxseg.ops.dispatch import dispatch


def pair_counts(true: jax.Array, predicted: jax.Array, classes: int) -> jax.Array:
    """How many pixels of each image have a true and a predicted class.

    Args:
      true: [N, ...] int32; what is not in 0..classes-1 is not counted.
      predicted: [N, ...] int32, 0..classes-1.
      classes: C.

    Returns:
      [N, C, C] int32.

    >>> pair_counts(jnp.array([[[0, 1, -1]]]), jnp.array([[[1, 1, 0]]]), 2).tolist()
    [[[0, 1], [0, 1]]]
    """

    def of_image(true, predicted):
        cell = jnp.where((true >= 0) & (true < classes), true * classes + predicted, classes**2)
        counts = jax.ops.segment_sum(jnp.ones_like(cell).ravel(), cell.ravel(), classes**2 + 1)
        return counts[:-1].reshape(classes, classes)

    def by_product(true, predicted):
        """A segment sum is a scatter, one value after the other; a TPU multiplies instead.

        In integers of a byte, which the matrix unit sums up in 32 bits.
        """
        numbers = jnp.arange(classes)
        ones = ((a[..., None] == numbers).astype(jnp.int8) for a in (true, predicted))
        flat = (a.reshape(len(a), -1, classes) for a in ones)
        return jnp.einsum("nkt,nkp->ntp", *flat, preferred_element_type=jnp.int32)

    return dispatch("confusion", true, predicted, reference=jax.vmap(of_image), tpu=by_product)
