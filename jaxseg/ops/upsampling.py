"""Fixed bilinear upsampling as a separable linear map, `Uh · X · Uwᵀ` with two banded matrices.

FCN's bilinear deconvolution with its crop (Long et al. 2015, section 3.3), PSPNet's align-corners
resize and the half-pixel resize of image libraries differ only in the position that an output
pixel reads.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxseg.errors import InputError
from jaxseg.ops.checks import as_array
from jaxseg.ops.pooling import Pair, pair


@dataclasses.dataclass(frozen=True)
class Axis:
    """A bilinear map along one axis: output `i` reads position `(step * i + offset) / unit`.

    Input `j` has the weight `max(0, 1 - |position - j|)`. With `clamp`, positions are clipped to
    the input (a resize); without it, values outside the input are zero (a deconvolution).
    """

    in_size: int
    out_size: int
    step: int
    offset: int
    unit: int
    clamp: bool

    def matrix(self) -> np.ndarray | jax.Array:
        """The map as a matrix: [out_size, in_size] float64, with at most two weights per row.

        For symbolic sizes in an exported program (`jax.export.symbolic_shape`), it is a float32
        array that the program computes.
        """
        known = isinstance(self.in_size, int) and isinstance(self.out_size, int)
        xp: Any = np if known else jnp
        position = self.step * xp.arange(self.out_size) + self.offset  # times `unit`: integers
        if self.clamp:
            position = xp.clip(position, 0, (self.in_size - 1) * self.unit)
        distance = abs(position[:, None] - self.unit * xp.arange(self.in_size))
        return xp.maximum(0, self.unit - distance) / self.unit


@dataclasses.dataclass(frozen=True)
class Upsampling:
    """A separable linear map from [h, w] to [H, W]: for each axis, a sequence of `Axis` maps.

    It is hashable and holds no arrays, so that it can be static in a pytree or an argument of
    `jit`.

    >>> up = bilinear_deconv((2, 3), (16, 24), stride=8, kernel=16, offset=4)
    >>> up(jnp.ones([1, 2, 3, 5])).shape
    (1, 16, 24, 5)
    """

    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]

    @property
    def changes_nothing(self) -> bool:
        """Whether it is the identity.

        >>> identity((2, 3)).changes_nothing, half_pixel((2, 3), (4, 6)).changes_nothing
        (True, False)
        """
        return all(
            axis.in_size == axis.out_size and axis.step == axis.unit and axis.offset == 0
            for axis in (*self.rows, *self.columns)
        )

    @property
    def in_size(self) -> tuple[int, int]:
        """(h, w) of the input."""
        return self.rows[0].in_size, self.columns[0].in_size

    @property
    def out_size(self) -> tuple[int, int]:
        """(H, W) of the output."""
        return self.rows[-1].out_size, self.columns[-1].out_size

    def then(self, after: "Upsampling") -> "Upsampling":
        """This map followed by `after`; the two matrices of each axis are multiplied."""
        if self.out_size != after.in_size:
            raise InputError(
                f"A map with output size {self.out_size} cannot be followed by one with input "
                f"size {after.in_size}.",
                "Create the second map for the output size of the first.",
            )
        return Upsampling(self.rows + after.rows, self.columns + after.columns)

    def resized(self, size: tuple[int, int]) -> "Upsampling":
        """This map, followed by a half-pixel resize to `size` if its output size differs."""
        return self if self.out_size == size else self.then(half_pixel(self.out_size, size))

    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """`Uh` [H, h] and `Uw` [W, w], float32."""
        return _product(self.rows), _product(self.columns)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """[N, h, w, C] to [N, H, W, C] in the dtype of `x` (sums in float32)."""
        floating = jnp.issubdtype(x.dtype, jnp.floating)  # integers would truncate the weights to 0
        if x.ndim != 4 or x.shape[1:3] != self.in_size or not floating:
            raise InputError(
                f"The map needs [N, {self.in_size[0]}, {self.in_size[1]}, C], floating point, but "
                f"got {x.dtype} of shape {x.shape}.",
                "Create the map for the size of the array.",
            )
        rows, columns = self.matrices()
        return apply_axis(rows, apply_axis(columns, x, axis=2), axis=1)


class UpsamplingOfEach(NamedTuple):
    """A separate `Upsampling` for each image of a batch, as arrays.

    Attributes:
      rows: [N, H, h] float32.
      columns: [N, W, w] float32.
    """

    rows: jax.Array
    columns: jax.Array

    @property
    def out_size(self) -> tuple[int, int]:
        """(H, W) of the output."""
        return self.rows.shape[1], self.columns.shape[1]

    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, h, w, C] to [N, H, W, C] in the dtype of `x` (sums in float32)."""
        return apply_axis(self.rows, apply_axis(self.columns, x, axis=2), axis=1)

    def matrices(self) -> tuple[jax.Array, jax.Array]:
        """`rows` and `columns`."""
        return self.rows, self.columns


def apply_axis(
    matrix: np.ndarray | jax.Array, x: jax.Array, axis: int, dtype: jnp.dtype | None = None
) -> jax.Array:
    """Multiplies axis 1 (rows) or 2 (columns) of `x` [N, h, w, C] by `matrix` [out, in].

    `matrix` may also hold one matrix per image, [N, out, in]. Sums are float32. The result has
    `dtype`, by default that of `x`.
    """
    spec = {1: "Hh,nhwc->nHwc", 2: "Ww,nhwc->nhWc"}[axis]
    y = jnp.einsum(
        spec if matrix.ndim == 2 else f"n{spec}",
        jnp.asarray(matrix, x.dtype),
        x,
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
    )
    return y.astype(dtype or x.dtype)


def identity(size: tuple[int, int]) -> Upsampling:
    """The identity map, for logits that already have label resolution."""
    rows, columns = (Axis(n, n, 1, 0, 1, clamp=False) for n in size)
    return Upsampling((rows,), (columns,))


def align_corners(in_size: tuple[int, int], out_size: tuple[int, int]) -> Upsampling:
    """Bilinear resize that maps corner pixels to corner pixels: Caffe's `Interp`, PSPNet's resize.

    Equal to `torch.nn.functional.interpolate(mode="bilinear", align_corners=True)`.
    """

    def axis(n: int, m: int) -> Axis:
        return Axis(n, m, step=n - 1 if m > 1 else 0, offset=0, unit=max(m - 1, 1), clamp=True)

    return _two(axis, in_size, out_size)


def half_pixel(in_size: tuple[int, int], out_size: tuple[int, int]) -> Upsampling:
    """Bilinear resize with half-pixel centres: the default of OpenCV and PyTorch."""

    def axis(n: int, m: int) -> Axis:
        return Axis(n, m, step=2 * n, offset=n - m, unit=2 * m, clamp=True)

    return _two(axis, in_size, out_size)


def bilinear_deconv(
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    *,
    stride: int,
    kernel: int,
    offset: int = 0,
) -> Upsampling:
    """A deconvolution with the fixed bilinear kernel, unpadded, then cropped (FCN section 3.3).

    Args:
      in_size: (h, w) of the input.
      out_size: (H, W) of the crop of the stride * (h - 1) + kernel rows, and columns likewise.
      stride: factor of the upsampling.
      kernel: size of the kernel, 2 * stride or 2 * stride - 1.
      offset: rows and columns cut off at the top and left (Caffe's Crop).

    Raises:
      InputError: another kernel size, or a crop that exceeds the deconvolution's output.
    """
    if kernel not in (2 * stride, 2 * stride - 1):
        raise InputError(
            f"A bilinear kernel of size {kernel} does not fit stride {stride}.",
            f"Use {2 * stride} or {2 * stride - 1}.",
        )
    for n, m in zip(in_size, out_size, strict=True):
        if offset < 0 or offset + m > stride * (n - 1) + kernel:
            raise InputError(
                f"A crop of {m} at offset {offset} exceeds the {stride * (n - 1) + kernel} rows "
                f"or columns after upsampling {n}.",
                "Give a smaller output size or offset.",
            )
    shift = 2 * offset - 2 * stride + (1 if kernel == 2 * stride else 2)

    def axis(n: int, m: int) -> Axis:
        return Axis(n, m, step=2, offset=shift, unit=2 * stride, clamp=False)

    return _two(axis, in_size, out_size)


def resize_bilinear(
    x: ArrayLike,
    size: Pair,
    *,
    align_corners: bool,
    extent: ArrayLike | None = None,
) -> jax.Array:
    """Bilinear resize of [N, h, w, C] to [N, H, W, C], without antialiasing.

    Args:
      x: [N, h, w, C], floating point.
      size: (H, W), or one integer for both.
      align_corners: True: maps corner pixels to corner pixels (PSPNet); False: half-pixel centres
        (the default of image libraries). `jax.image.resize` offers only the second.
      extent: [N, 2] integers, the (rows, columns) to which each map is resized; each map fills the
        upper left corner of [H, W], with zeros beyond it. None: all of [H, W].

    >>> x = jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    >>> resize_bilinear(x, (1, 3), align_corners=True).ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    x = as_array(x)
    height, width = pair(size)
    if any(isinstance(n, int) and n < 1 for n in (height, width)):
        raise InputError(f"The size is {(height, width)}.", "Give 1 or more rows and columns.")
    sizes = (x.shape[1], x.shape[2]), (height, width)
    return resizing(*sizes, align_corners=align_corners, extent=extent)(x)


def resizing(
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    *,
    align_corners: bool,
    extent: jax.Array | None = None,
) -> Upsampling | UpsamplingOfEach:
    """The map that `resize_bilinear` applies, from (h, w) to (H, W)."""
    if extent is not None:
        weights = (
            _resize_weights(n, size, extent[:, i], align_corners)
            for i, (n, size) in enumerate(zip(in_size, out_size, strict=True))
        )
        return UpsamplingOfEach(*weights)
    return (_align_corners if align_corners else half_pixel)(in_size, out_size)


_align_corners = align_corners  # `resizing` has an argument with the same name


def _two(axis, in_size, out_size) -> Upsampling:
    rows, columns = (axis(n, m) for n, m in zip(in_size, out_size, strict=True))
    return Upsampling((rows,), (columns,))


def _product(axes: tuple[Axis, ...]) -> np.ndarray:
    matrix = axes[0].matrix()
    for axis in axes[1:]:
        matrix = axis.matrix() @ matrix
    return matrix.astype(np.float32)


def _resize_weights(n: int, size: int, lengths: jax.Array, align_corners: bool) -> jax.Array:
    """The matrices [N, size, n] of the resizes from `n` to each of `lengths` [N]."""
    i, m = jnp.arange(size), lengths[:, None]
    if align_corners:
        position = i * (n - 1) / jnp.maximum(m - 1, 1)
    else:
        position = (2 * n * i + n - m) / (2 * m)
    position = position.clip(0, n - 1)[:, :, None]
    weights = jnp.maximum(0, 1 - jnp.abs(position - jnp.arange(n))).astype(jnp.float32)
    return jnp.where((i < m)[:, :, None], weights, 0)
