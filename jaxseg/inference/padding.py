"""Images of several sizes in one batch, each seen by the network as if it were alone.

Zeros below and to the right of a smaller image would change its logits, and not only at its edge:

- A convolution finds zeros beyond an image's border. In a padded batch the first one does, too, but
  the ones after it would find its output there: its bias, or batch norm's shift.
- Where sizes round down, a window may straddle the border which does not exist for the image alone.
- PSPNet's pyramid takes means over the whole map, filling included, and its windows depend on the
  map's size; so do resizes from corner to corner, and thus all upsampled logits.

So the network is told each image's own part of every map (the collection "extents", see
`jaxseg.nn.capture.tap`), sets the rest to zero, and pools and resizes by that part. The sizes
are those of an image that is alone: tracing the network, which compiles nothing, tells them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxseg.models import normalize
from jaxseg.models.logits import coarse_logits
from jaxseg.nn.capture import within
from jaxseg.ops.upsampling import Upsampling, UpsamplingOfEach

Size = tuple[int, int]


class Layout(NamedTuple):
    """Where N images lie in the maps of a padded batch.

    Attributes:
      extents: [N, 1 + maps, 2] int32, rows and columns of each image, and of its part of each map.
      rows, columns: [N, H, h] and [N, W, w] float32, the upsampling of each image's logits.
    """

    extents: np.ndarray | jax.Array
    rows: np.ndarray | jax.Array
    columns: np.ndarray | jax.Array


class Layouts:
    """Makes the layouts of a network's batches; it traces the network once a height and width.

    Args:
      model: the network.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._rows: dict[int, _Axis] = {}
        self._columns: dict[int, _Axis] = {}
        self._whole: dict[Size, tuple[dict, Upsampling]] = {}

    def __call__(self, variables: Any, canvas: Size, sizes: Sequence[Size]) -> Layout:
        """The layout of images of these sizes in a batch of `canvas`, (height, width) of it all.

        A height or width that was not seen before takes a trace of the network: a fraction of a
        second, about one for the deepest.

        Args:
          variables: the network's parameters and statistics; only shapes are looked at.

        Raises:
          InputError: the network cannot take images of such a size.
        """
        images = [self._traced(variables, size) for size in sizes]
        whole = self._traced(variables, canvas)
        extents = [np.stack([rows.extents, columns.extents], axis=1) for rows, columns in images]
        rows, columns = (
            np.stack([_padded(image[axis].matrix, whole[axis].matrix.shape) for image in images])
            for axis in (0, 1)
        )
        return Layout(np.stack(extents), rows, columns)

    @property
    def nbytes(self) -> int:
        """How much memory the sizes that were seen take, roughly."""
        axes = [*self._rows.values(), *self._columns.values()]
        return sum(axis.matrix.nbytes for axis in axes) + 2**13 * len(self._whole)

    def resized(
        self, variables: Any, size: Size, out: Size, canvas: Size, inputs: Size | None = None
    ) -> Layout:
        """The layout of an image of `size` that is alone, with logits at the size `out`.

        Those lie in a map of `canvas`, so that one program serves for many sizes; and the image in
        a batch of the size `inputs`, where that is larger.
        """
        if size not in self._whole:
            self._whole[size] = _maps(self._model, variables, size)
        maps, upsampling = self._whole[size]
        matrices = upsampling.resized(out).matrices()
        cells = [matrix.shape[1] for matrix in matrices]
        if inputs is not None and inputs != size:
            cells = [axis.matrix.shape[1] for axis in self._traced(variables, inputs)]
        rows, columns = (
            _padded(matrix, shape)[None]
            for matrix, shape in zip(matrices, zip(canvas, cells, strict=True), strict=True)
        )
        return Layout(np.array([[size, *maps.values()]], np.int32), rows, columns)

    def _traced(self, variables: Any, size: Size) -> tuple["_Axis", "_Axis"]:
        """Both axes of an image of that size; each depends on its own number only."""
        height, width = size
        if height not in self._rows or width not in self._columns:
            maps, upsampling = _maps(self._model, variables, size)
            rows, columns = upsampling.matrices()
            extents = np.array([size, *maps.values()], np.int32)
            self._rows[height] = _Axis(extents[:, 0], rows)
            self._columns[width] = _Axis(extents[:, 1], columns)
        return self._rows[height], self._columns[width]


def padded_logits(
    model: nn.Module, variables: Any, images: jax.Array, size: Size, layout: Layout | None
) -> tuple[jax.Array, Upsampling | UpsamplingOfEach]:
    """`coarse_logits`, also of images that lie in the upper left corners of a batch.

    Args:
      model: the network.
      variables: its parameters and statistics.
      images: uint8 [N, H, W, 3]; pixels beyond an image do not matter.
      size: (height, width) that the logits are to be brought to; with a layout (H, W).
      layout: where the images lie; None: each fills its place.
    """
    if layout is None:
        return coarse_logits(model, variables, images, size)
    return padded_heads(model, variables, normalize(images, model.preprocessing), layout)


def padded_heads(
    model: nn.Module, variables: Any, images: jax.Array, layout: Layout
) -> tuple[jax.Array, UpsamplingOfEach]:
    """The first head's logits of images that lie in the upper left corners of a batch.

    They equal those of each image alone, up to the rounding of sums in another order.

    Args:
      model: the network.
      variables: its parameters and statistics.
      images: [N, H, W, 3] float32, normalised; pixels beyond an image do not matter.
      layout: where they lie.

    Returns:
      The logits [N, h, w, C], and the upsampling that brings each image's to its size; its values
      beyond an image are undefined.
    """
    maps = _maps(model, variables, images.shape[1:3])[0]
    own = {path: layout.extents[:, i] for i, path in enumerate(maps, 1)}
    images = within(images, layout.extents[:, 0])
    head = model.apply(variables | {"extents": unflatten_dict(own)}, images, method="heads")[0]
    return head.logits, UpsamplingOfEach(layout.rows, layout.columns)


def _maps(model: nn.Module, variables: Any, size: Size) -> tuple[dict[tuple, Size], Upsampling]:
    """(height, width) of every captured map by its path, and the upsampling of the logits."""

    def run(variables, images):
        heads, captured = model.apply(variables, images, method="heads", mutable=["features"])
        return heads[0], captured["features"]

    channels = model.preprocessing.channels
    images = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    head, captured = jax.eval_shape(run, variables, images)
    return {path: x.shape[1:3] for path, x in flatten_dict(captured).items()}, head.upsampling


class _Axis(NamedTuple):
    """Along one axis: the length of an image and of its maps, and the matrix of its upsampling."""

    extents: np.ndarray
    matrix: np.ndarray


def _padded(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.pad(matrix, [(0, n - m) for n, m in zip(shape, matrix.shape, strict=True)])
