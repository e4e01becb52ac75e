"""The kind of images that a data set has and a network takes: their channels, and bits of each."""

from typing import NamedTuple

DTYPES = {8: "uint8", 16: "uint16", 32: "float32"}
"""The dtype of pixels by `bits`."""


class ImageKind(NamedTuple):
    """How the pixels of images lie in arrays [H, W, channels].

    Attributes:
      channels: 1 (grey), 3 (RGB, in this order) or any other number of bands.
      bits: 8 (uint8), 16 (uint16) or 32 (float32: the numbers of the file, whatever their range).

    >>> ImageKind(5, 16).dtype, str(ImageKind(5, 16))
    ('uint16', '5 channels of 16 bits')
    """

    channels: int = 3
    bits: int = 8

    @property
    def dtype(self) -> str:
        """Of the pixels, by its name."""
        return DTYPES[self.bits]

    @property
    def top(self) -> int | None:
        """The largest value of a pixel; None of floats, which have no range."""
        return None if self.bits == 32 else 2**self.bits - 1

    def __str__(self) -> str:
        return f"{self.channels} channel{'s' * (self.channels != 1)} of {self.bits} bits"


RGB = ImageKind()
"""Photographs."""
