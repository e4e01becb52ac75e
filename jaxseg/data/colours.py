"""Colours for classes without their own: VOC's, and others that are easier to tell apart."""

import colorsys

# Each colour is far from all earlier ones, from white, from a dark page, and from the colours of
# ignored and wrong pixels, also for protanopes, deuteranopes and tritanopes (Machado et al. 2009,
# severity 1): for the first 15, by 13 or more in CIELAB. Chosen greedily, the farthest first.
_COLOURS = (
    *((0, 114, 178), (135, 0, 255), (255, 195, 0), (210, 105, 120), (120, 225, 120)),
    *((195, 165, 210), (90, 75, 105), (180, 90, 255), (165, 15, 45), (150, 165, 255)),
    *((60, 60, 180), (135, 150, 75), (165, 210, 165), (255, 105, 15), (180, 105, 150)),
    *((135, 30, 135), (75, 105, 75), (240, 45, 210), (195, 195, 75), (30, 225, 255)),
    *((210, 150, 165), (105, 60, 225), (120, 195, 120)),
)


def distinct_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Black for class 0, then `count` - 1 distinguishable colours on white and on black.

    Up to 16 of them are distinguishable for colour-blind people too; all are different.

    >>> distinct_colours(3)
    ((0, 0, 0), (0, 114, 178), (135, 0, 255))
    """
    colours = [(0, 0, 0), *_COLOURS]
    number = 0
    while len(colours) < count:
        hue, light = number * 0.618034 % 1, (0.45, 0.65, 0.8)[number % 3]
        red, green, blue = colorsys.hls_to_rgb(hue, light, 0.65)
        colour = round(255 * red), round(255 * green), round(255 * blue)
        colours += [colour] if colour not in colours else []
        number += 1
    return tuple(colours[:count])


def voc_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """The first `count` colours of VOC: the bits of an index, distributed over three channels.

    >>> voc_palette(4)
    ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    """

    def channel(index: int, shift: int) -> int:
        return sum((index >> (3 * bit + shift) & 1) << (7 - bit) for bit in range(8))

    return tuple((channel(i, 0), channel(i, 1), channel(i, 2)) for i in range(count))
