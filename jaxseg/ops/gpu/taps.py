"""Banded matrices as weighted sums of neighbours, which XLA fuses into other GPU kernels."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


@flax.struct.dataclass
class Taps:
    """Matrices [..., out, in] with few entries per row, next to each other.

    Attributes:
      first: [..., out] int32, the first input that each output reads.
      weights: [..., out, taps] float32, the weights of the inputs.
    """

    first: Any
    weights: Any

    @classmethod
    def of(cls, matrices: np.ndarray) -> "Taps":
        """The same map as `matrices` [..., out, in] float32."""
        used = matrices != 0
        size = matrices.shape[-1]
        first = np.where(used.any(axis=-1), used.argmax(axis=-1), 0)
        last = np.where(used.any(axis=-1), size - 1 - used[..., ::-1].argmax(axis=-1), 0)
        taps = int((last - first).max()) + 1
        first = np.minimum(first, size - taps).astype(np.int32)
        weights = np.take_along_axis(matrices, first[..., None] + np.arange(taps), axis=-1)
        return cls(first, weights.astype(np.float32))

    def moved(self, start: Any) -> "Taps":
        """The same map for inputs that begin `start` cells later."""
        return Taps(self.first + start, self.weights)

    def __call__(self, x: jax.Array, axis: int) -> jax.Array:
        """Applies the map along axis 1 or 2 of [N, H, W, C] float32."""
        out, taps = self.weights.shape
        shape = [1, 1, 1, 1]
        shape[axis] = out

        def tap(i):
            rows = jnp.take(x, self.first + i, axis=axis, mode="clip")
            return jnp.reshape(self.weights[:, i], shape) * rows

        if taps <= 4:
            return sum((tap(i) for i in range(1, taps)), tap(0))
        at = self.first[:, None] + np.arange(taps, dtype=np.int32)
        rows = jnp.take(x, at, axis=axis, mode="clip")
        shape.insert(axis + 1, taps)
        return (jnp.reshape(self.weights, shape) * rows).sum(axis=axis + 1)
