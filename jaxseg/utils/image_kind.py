"""The kind of images of a data set or a network: channels, and bits per channel."""

from typing import NamedTuple

DTYPES = {8: "uint8", 16: "uint16", 32: "float32"}
"""Pixel dtype for each value of `bits`."""


class ImageKind(NamedTuple):
    """The format of images as arrays [H, W, channels].

    Attributes:
      channels: 1 (grey), 3 (RGB, in this order) or any other number of bands.
      bits: 8 (uint8), 16 (uint16) or 32 (float32: the values in the file, in any range).

    >>> ImageKind(5, 16).dtype, str(ImageKind(5, 16))
    ('uint16', '5 channels of 16 bits')
    """

    channels: int = 3
    bits: int = 8

    @property
    def dtype(self) -> str:
        """Name of the pixel dtype."""
        return DTYPES[self.bits]

    @property
    def top(self) -> int | None:
        """The largest pixel value; None for floats, which have no fixed range."""
        return None if self.bits == 32 else 2**self.bits - 1

    def __str__(self) -> str:
        return f"{self.channels} channel{'s' * (self.channels != 1)} of {self.bits} bits"


RGB = ImageKind()
"""The kind of ordinary photographs: 8-bit RGB."""
