"""Gaussian noise and random erasing: augmentations of the image that do not move pixels."""

import numpy as np

_AREA = (0.02, 0.2)  # area of an erased rectangle, as a share of the image
_ASPECT = (0.3, 1 / 0.3)  # its height divided by its width


def with_noise(image: np.ndarray, rng: np.random.Generator, most: float) -> np.ndarray:
    """Adds Gaussian noise to `image`, independent for each pixel and channel.

    The std is drawn from [0, most] times the range of values: that of the integer dtype, or, for
    floats, that of the image.

    Args:
      image: uint8, uint16 or float32 [H, W, C].
      rng: draws one number, then one per value.
      most: as above, 0..1.
    """
    if image.dtype == np.float32:
        spread, top = float(np.ptp(image)), None
    else:
        spread = top = float(np.iinfo(image.dtype).max)
    noise = rng.standard_normal(image.shape, np.float32)
    noise *= np.float32(rng.uniform(0, most) * spread)
    noise += image
    if top is None:
        return noise
    noise += np.float32(0.5)  # the conversion below truncates
    return noise.clip(0, top).astype(image.dtype)


def erased(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator, fill, ignore_label: int
) -> tuple[np.ndarray, np.ndarray]:
    """Erases one rectangle: sets the image to `fill` and the label to `ignore_label`.

    Random erasing (Zhong et al. 2020): an area of 2 % to 20 % of the image, a height of 0.3 to 3.3
    times its width, at any position. The invisible part is ignored in loss and metrics.

    Args:
      image: [H, W, C].
      label: [H, W].
      rng: draws four numbers.
      fill: one number per channel.
      ignore_label: such as 255.
    """
    height, width = label.shape
    area = rng.uniform(*_AREA) * height * width
    aspect = np.exp(rng.uniform(*np.log(_ASPECT)))
    tall = min(max(round(np.sqrt(area * aspect)), 1), height)
    wide = min(max(round(np.sqrt(area / aspect)), 1), width)
    top = int(rng.random() * (height - tall + 1))
    left = int(rng.random() * (width - wide + 1))
    image, label = image.copy(), label.copy()
    image[top : top + tall, left : left + wide] = fill
    label[top : top + tall, left : left + wide] = ignore_label
    return image, label
