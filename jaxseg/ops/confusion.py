"""Counts of pairs of true and predicted classes."""

import jax
import jax.numpy as jnp

from jaxseg.ops.dispatch import dispatch


def pair_counts(true: jax.Array, predicted: jax.Array, classes: int) -> jax.Array:
    """Counts the pixels of each image for every pair of true and predicted class.

    Args:
      true: [N, ...] int32; values outside 0..classes-1 are not counted.
      predicted: [N, ...] int32, 0..classes-1.
      classes: the number of classes, C.

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
        """A matrix product for TPUs, where a segment sum is a slow sequential scatter.

        The operands are int8, which the matrix unit sums in int32.
        """
        numbers = jnp.arange(classes)
        ones = ((a[..., None] == numbers).astype(jnp.int8) for a in (true, predicted))
        flat = (a.reshape(len(a), -1, classes) for a in ones)
        return jnp.einsum("nkt,nkp->ntp", *flat, preferred_element_type=jnp.int32)

    return dispatch("confusion", true, predicted, reference=jax.vmap(of_image), tpu=by_product)
