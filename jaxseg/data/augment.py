"""Random scale, crop and flip, of image and label together, in one interpolation."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from jaxseg.data.source import IGNORE, Example
from jaxseg.errors import InputError


@dataclass(frozen=True)
class Augment:
    """Scales an example, cuts a window out of it and mirrors it, all at random.

    Image and label are read at the same positions, the image bilinearly and the label at the
    nearest pixel, so a label never gains a value it did not hold (but `ignore_label`, outside the
    image). At scale 1 nothing is interpolated: pixels are copied. Shrinking does not average
    over the pixels it skips (PIL's affine transform), unlike `resize_image`.

    Args:
      crop: (height, width) of the result in pixels; None keeps the native size. Where the scaled
        image is smaller than the crop, it is placed at random and surrounded by `fill`.
      scale: (lowest, highest) scale, drawn uniformly; needs `crop` unless it is (1, 1).
      flip: the probability of mirroring left and right.
      fill: the colour (r, g, b) outside the image, 0..255.
      ignore_label: the label outside the image.

    Raises:
      InputError: a value is out of its range.

    >>> example = Example(np.zeros((5, 7, 3), np.uint8), np.zeros((5, 7), np.uint8), "a")
    >>> out = Augment(crop=(4, 4), scale=(0.5, 2.0), flip=0.5)(example, np.random.default_rng(0))
    >>> out.image.shape, out.label.shape
    ((4, 4, 3), (4, 4))
    """

    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    fill: tuple[int, int, int] = (124, 116, 104)  # the mean colour of ImageNet
    ignore_label: int = IGNORE

    def __post_init__(self):
        if self.crop is not None:
            check_size("augment.crop", self.crop)
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < np.inf:
            raise InputError(
                f"augment.scale is {self.scale}.",
                "Give (lowest, highest) with 0 < lowest <= highest.",
            )
        if self.crop is None and tuple(self.scale) != (1, 1):
            raise InputError(
                f"augment.scale is {self.scale} without augment.crop.",
                "Give a crop, or leave the scale at (1.0, 1.0): whole images keep their size.",
            )
        if not 0 <= self.flip <= 1:
            raise InputError(f"augment.flip is {self.flip}.", "Give a probability in 0..1.")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """The example, augmented.

        Args:
          example: image uint8 [H, W, 3], label uint8 [H, W].
          rng: four numbers are drawn from it, whatever they decide.

        Returns:
          An example whose height and width are `crop`, or the native ones without a crop.
        """
        height, width = example.label.shape
        mirrored = rng.random() < self.flip
        scale, y, x = rng.uniform(*self.scale), rng.random(), rng.random()
        scaled = max(1, round(height * scale)), max(1, round(width * scale))
        crop = self.crop or (height, width)
        top, left = _place(scaled[0], crop[0], y), _place(scaled[1], crop[1], x)
        cut = _copy if scaled == (height, width) else _interpolate
        image = cut(example.image, scaled, crop, (top, left), mirrored, tuple(self.fill))
        label = cut(example.label, scaled, crop, (top, left), mirrored, self.ignore_label)
        return Example(image, label, example.name)


def resize_image(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """`image`, uint8 [H, W, 3], resized to (height, width): uint8 [height, width, 3]. None: as is.

    Bilinear with pixel centres at half integers; shrinking averages (antialiased).

    Raises:
      InputError: `size` is not two positive integers.

    >>> resize_image(np.full((4, 6, 3), 7, np.uint8), (2, 9)).shape
    (2, 9, 3)
    """
    if size is not None:
        check_size("The size", size)
    if size is None or image.shape[:2] == tuple(size):
        return image
    return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def check_size(what: str, size: tuple[int, int]):
    """Raises an InputError that calls `size` `what` where it is not two positive integers."""
    if len(size) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in size):
        raise InputError(f"{what} is {tuple(size)}.", "Give (height, width), two integers above 0.")


def _place(scaled: int, crop: int, uniform: float) -> int:
    """Where the crop begins in the scaled image; below 0 where the crop is the larger."""
    offset = int(uniform * (abs(scaled - crop) + 1))
    return offset if scaled >= crop else -offset


def _copy(pixels, scaled, crop, start, mirrored, fill) -> np.ndarray:
    """The window without interpolation."""
    out = np.empty((*crop, *pixels.shape[2:]), np.uint8)
    out[...] = fill
    top, left = start
    inside = pixels[max(top, 0) : top + crop[0], max(left, 0) : left + crop[1]]
    row, column = max(-top, 0), max(-left, 0)
    out[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    return np.ascontiguousarray(out[:, ::-1]) if mirrored else out


def _interpolate(pixels, scaled, crop, start, mirrored, fill) -> np.ndarray:
    """The window of the image scaled to `scaled`: bilinear in colour, nearest in labels."""
    (top, left), (height, width) = start, pixels.shape[:2]
    step_y, step_x = height / scaled[0], width / scaled[1]
    # PIL reads the source at (a x + c, e y + f) for a pixel centre (x, y), both from the edges
    across = (-step_x, (left + crop[1]) * step_x) if mirrored else (step_x, left * step_x)
    resample = Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling.BILINEAR
    return np.array(
        Image.fromarray(pixels).transform(
            (crop[1], crop[0]),
            Image.Transform.AFFINE,
            (across[0], 0, across[1], 0, step_y, top * step_y),
            resample,
            fillcolor=fill,
        )
    )
