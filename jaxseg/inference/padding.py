"""Processes images of several sizes in one batch, with the same result as for each image alone.

Zeros below and to the right of a smaller image would change its logits, not only at its edge:

- A convolution reads zeros beyond the border of a single image. In a padded batch, this holds for
  the first convolution, but the later ones read its output there: its bias, or batch norm's shift.
- If sizes are rounded down, a window may cross a border of the image at which a single image has no
  window.
- PSPNet's pyramid averages over the whole map, including the padding, and its windows depend on the
  map's size. So do resizes with aligned corners, and thus all upsampled logits.

Therefore the network receives the part of every map that belongs to each image (the collection
"extents", see `jaxseg.nn.capture.extent`), sets the rest to zero, and pools and resizes only that
part. The sizes of the parts are those for a single image, found by tracing the network without
compilation.
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
    """The positions of N images in the maps of a padded batch.

    Attributes:
      extents: [N, 1 + maps, 2] int32, rows and columns of each image, and of its part of each map.
      rows, columns: [N, H, h] and [N, W, w] float32, the upsampling of each image's logits.
    """

    extents: np.ndarray | jax.Array
    rows: np.ndarray | jax.Array
    columns: np.ndarray | jax.Array


class Layouts:
    """Creates the layouts of a network's batches; traces the network once per height and width.

    Args:
      model: the network.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._rows: dict[int, _Axis] = {}
        self._columns: dict[int, _Axis] = {}
        self._whole: dict[Size, tuple[dict, Upsampling]] = {}

    def __call__(self, variables: Any, canvas: Size, sizes: Sequence[Size]) -> Layout:
        """The layout of images of these sizes in a batch of size `canvas`, (height, width).

        A new height or width requires a trace of the network: a fraction of a second, or about one
        second for the deepest network.

        Args:
          variables: the network's parameters and statistics; only shapes matter.

        Raises:
          InputError: the network does not support images of such a size.
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
        """Approximate memory in bytes of the cached sizes."""
        axes = [*self._rows.values(), *self._columns.values()]
        return sum(axis.matrix.nbytes for axis in axes) + 2**13 * len(self._whole)

    def resized(
        self, variables: Any, size: Size, out: Size, canvas: Size, inputs: Size | None = None
    ) -> Layout:
        """The layout of a single image of `size`, with logits at the size `out`.

        The logits lie in a map of size `canvas`, so that one program serves many sizes. The image
        lies in a batch of size `inputs`, if that is larger.
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
        """The two axes of an image of this size; each depends only on its own length."""
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
    """`coarse_logits`, also for images in the upper left corners of a batch.

    Args:
      model: the network.
      variables: its parameters and statistics.
      images: uint8 [N, H, W, 3]; pixels beyond an image are ignored.
      size: (height, width) of the upsampled logits; with a layout, (H, W).
      layout: positions of the images; None: each fills its place in the batch.
    """
    if layout is None:
        return coarse_logits(model, variables, images, size)
    return padded_heads(model, variables, normalize(images, model.preprocessing), layout)


def padded_heads(
    model: nn.Module, variables: Any, images: jax.Array, layout: Layout
) -> tuple[jax.Array, UpsamplingOfEach]:
    """The first head's logits of images in the upper left corners of a batch.

    They equal the logits of each image alone, up to the rounding of sums in another order.

    Args:
      model: the network.
      variables: its parameters and statistics.
      images: [N, H, W, 3] float32, normalised; pixels beyond an image are ignored.
      layout: positions of the images.

    Returns:
      The logits [N, h, w, C], and their upsampling to the size of each image; values beyond an
      image are undefined.
    """
    maps = _maps(model, variables, images.shape[1:3])[0]
    own = {path: layout.extents[:, i] for i, path in enumerate(maps, 1)}
    images = within(images, layout.extents[:, 0])
    head = model.apply(variables | {"extents": unflatten_dict(own)}, images, method="heads")[0]
    return head.logits, UpsamplingOfEach(layout.rows, layout.columns)


def _maps(model: nn.Module, variables: Any, size: Size) -> tuple[dict[tuple, Size], Upsampling]:
    """(height, width) of every captured map by path, and the upsampling of the logits."""

    def run(variables, images):
        heads, captured = model.apply(variables, images, method="heads", mutable=["features"])
        return heads[0], captured["features"]

    channels = model.preprocessing.channels
    images = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    head, captured = jax.eval_shape(run, variables, images)
    return {path: x.shape[1:3] for path, x in flatten_dict(captured).items()}, head.upsampling


class _Axis(NamedTuple):
    """One axis: the lengths of an image and of its maps, and the matrix of its upsampling."""

    extents: np.ndarray
    matrix: np.ndarray


def _padded(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.pad(matrix, [(0, n - m) for n, m in zip(shape, matrix.shape, strict=True)])
