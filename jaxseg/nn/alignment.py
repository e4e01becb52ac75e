"""The position of each cell of a feature map in the image, from which all crop offsets follow."""

import dataclasses
from fractions import Fraction

from jaxseg.errors import InputError
from jaxseg.ops.upsampling import Upsampling, bilinear_deconv


@dataclasses.dataclass(frozen=True)
class Grid:
    """Cell `i` of a feature map is centred on image pixel `stride * i + origin`, on either axis.

    This is the coordinate mapping of Caffe's Crop layer, which gives the released FCN its offsets
    5, 9, 19, 27 and 31.

    >>> conv1 = Grid().window(3, padding=100)
    >>> pool5 = conv1.pool().pool().pool().pool().pool()
    >>> upscore = pool5.window(7).deconv(64, 32)
    >>> upscore.offset_of(Grid())
    19
    """

    stride: Fraction = Fraction(1)
    origin: Fraction = Fraction(0)

    def window(self, kernel: int, stride: int = 1, padding: int = 0) -> "Grid":
        """The grid after a convolution or pooling."""
        centre = Fraction(kernel - 1, 2) - padding
        return Grid(self.stride * stride, self.origin + self.stride * centre)

    def pool(self) -> "Grid":
        """The grid after VGG's 2×2 pooling with stride 2."""
        return self.window(2, 2)

    def deconv(self, kernel: int, stride: int) -> "Grid":
        """The grid after a deconvolution without padding."""
        fine = self.stride / stride
        return Grid(fine, self.origin - fine * Fraction(kernel - 1, 2))

    def to_image(
        self, in_size: tuple[int, int], image_size: tuple[int, int], *, stride: int, kernel: int
    ) -> Upsampling:
        """The bilinear deconvolution of a map on this grid, cropped to its image."""
        offset = self.deconv(kernel, stride).offset_of(Grid())
        return bilinear_deconv(in_size, image_size, stride=stride, kernel=kernel, offset=offset)

    def offset_of(self, other: "Grid") -> int:
        """The cell of this grid at cell 0 of `other`; negative if `other` begins first.

        Raises:
          InputError: the strides differ, or the grids are a fraction of a cell apart.
        """
        offset = (other.origin - self.origin) / self.stride
        if self.stride != other.stride or offset.denominator != 1:
            raise InputError(
                f"Feature maps of strides {self.stride} and {other.stride} "
                f"are {offset} cells apart.",
                "Choose a kernel whose centre is on a cell.",
            )
        return int(offset)
