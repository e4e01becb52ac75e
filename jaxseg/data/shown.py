"""Converts an image of any kind to a picture for people."""

import numpy as np


def shown(image: np.ndarray) -> np.ndarray:
    """The image as uint8 [H, W, 3]; 8-bit RGB images are unchanged.

    Of more than three channels, the first three are shown as red, green and blue; fewer are shown
    as grey. Values with more than 8 bits are stretched, so that in each channel all but the lowest
    and highest 1 % are between black and white.

    Args:
      image: uint8, uint16 or float32 [H, W, C].

    >>> shown(np.array([[[0], [65535]]], np.uint16)).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    if image.shape[2] != 3:
        image = image[..., :3] if image.shape[2] > 3 else np.repeat(image[..., :1], 3, axis=2)
    if image.dtype == np.uint8:
        return image
    values = image.reshape(-1, 3).astype(np.float32)
    low, high = np.percentile(values, (1, 99), axis=0).astype(np.float32)
    spread = np.maximum(high - low, np.finfo(np.float32).tiny)
    levels = (values - low) / spread * 255
    return (levels + 0.5).clip(0, 255).astype(np.uint8).reshape(image.shape)
