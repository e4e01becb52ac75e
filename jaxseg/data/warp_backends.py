"""The libraries that warp images, and `Image.transform` by kornia-rs."""

import functools
import os

import numpy as np

from jaxseg.errors import InputError

BACKENDS = ("kornia", "pillow", "opencv")
_SAME = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # the identity as an affine map


@functools.cache
def kornia():
    """The module kornia_rs.imgproc, with one thread, because the loader has its own.

    Raises:
      InputError: kornia-rs is not installed.
    """
    threads = os.environ.get("RAYON_NUM_THREADS")
    os.environ["RAYON_NUM_THREADS"] = threads or "1"
    try:
        from kornia_rs import imgproc

        # threads start, and RAYON_NUM_THREADS is read, at the first use
        imgproc.warp_affine(np.zeros((256, 256, 3), np.uint8), _SAME, (256, 256), "bilinear")
    except ImportError as error:
        raise InputError(
            f"augment.backend is 'kornia', but kornia-rs is not installed ({error}).",
            "Run pip install kornia-rs, or set it to 'pillow'.",
        ) from error
    finally:
        if threads is None:
            del os.environ["RAYON_NUM_THREADS"]
    return imgproc


@functools.cache
def opencv():
    """The module cv2, with its threads disabled: the loader has its own.

    Raises:
      InputError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"augment.backend is 'opencv', which is not installed ({error}).",
            "Run pip install 'jaxseg[opencv]', or set it to 'kornia'.",
        ) from error
    cv2.setNumThreads(0)
    return cv2


def warp_photo(pixels, size: tuple[int, int], affine, fill) -> np.ndarray:
    """`Image.transform` of an 8-bit RGB image by kornia-rs, to three levels.

    Args:
      pixels: uint8 [H, W, 3].
      size: (width, height) of the result.
      affine: ((a, b, c), (d, e, f)), as in `Image.transform`.
      fill: the colour of pixels whose centre is outside the image.
    """
    steps, corner = np.array(affine)[:, :2], np.array(affine)[:, 2]
    # positions of the four corner pixels of the result, from the corner of the image
    ends = np.array([[x, y] for x in (0.5, size[0] - 0.5) for y in (0.5, size[1] - 0.5)])
    places = ends @ steps.T + corner
    sides = np.array([pixels.shape[1], pixels.shape[0]])
    first = np.clip(np.floor(places.min(0)).astype(int) - 1, 0, sides)
    last = np.clip(np.ceil(places.max(0)).astype(int) + 1, 0, sides)
    if (first >= last).any():
        return np.full((size[1], size[0], 3), fill, np.uint8)
    seen = pixels[first[1] : last[1], first[0] : last[0]]
    # half a pixel along the edges repeats the colour of the edge
    part = np.empty((seen.shape[0] + 2, seen.shape[1] + 2, 3), np.uint8)
    part[1:-1, 1:-1] = seen
    part[0, 1:-1], part[-1, 1:-1] = seen[0], seen[-1]
    part[:, 0], part[:, -1] = part[:, 1], part[:, -2]
    # kornia-rs counts from the centre of the first pixel, and takes the map from source to result
    back = np.linalg.inv(steps)
    shift = corner - first + 0.5 + steps.sum(1) / 2
    forth = np.column_stack([back, -back @ shift]).ravel().tolist()
    out = kornia().warp_affine(part, forth, size[::-1], "bilinear")
    if (places < 0).any() or (places >= sides).any():
        # half the time of a mask as index
        out.reshape(-1, 3)[np.flatnonzero(_outside(size, steps, corner, sides))] = fill
    return out


def _outside(size: tuple[int, int], steps, corner, sides) -> np.ndarray:
    """Which pixels of the result, bool [height, width], have their centre outside the image."""
    width, height = size
    rows = np.arange(height) + 0.5
    first, last = np.zeros(height), np.full(height, float(width))  # columns inside, by row
    for (along, down), begin, side in zip(steps, corner, sides, strict=True):
        at = begin + down * rows  # position of the start of each row; a column is `along` further
        if along == 0:
            last[(at < 0) | (at >= side)] = 0
            continue
        enters, leaves = -at / along, (side - at) / along
        np.maximum(first, np.ceil(np.minimum(enters, leaves) - 0.5), out=first)
        np.minimum(last, np.ceil(np.maximum(enters, leaves) - 0.5), out=last)
    columns = np.arange(width, dtype=np.int32)
    first, last = (np.clip(n, 0, width).astype(np.int32)[:, None] for n in (first, last))
    return (columns < first) | (columns >= last)
