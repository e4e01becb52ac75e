"""DeconvNet's inference (Noh et al. 2015, section 4.3): windows around object proposals."""

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.data.augment import resize_image
from jaxseg.data.batches import round_up
from jaxseg.data.crops import Box, cut, enlarged
from jaxseg.data.proposals import propose
from jaxseg.data.shown import shown
from jaxseg.errors import InputError, nearest
from jaxseg.inference.padding import Size
from jaxseg.models import normalize
from jaxseg.ops.byte_labels import byte_labels

OVERLAPS = ("max", "mean")
_BATCH = 10  # windows per batch
_ROWS = 64  # rows of the image that are combined at a time
_COLUMNS = 64  # the image's width is rounded up to multiples, so that few sizes are compiled


class InstanceWise:
    """Applies the network to windows around object proposals, and combines their logits.

    Each proposal is enlarged by a factor of 1.2, as in training, and resized to the input size of
    the network; parts outside the image are black. Windows whose shorter side is too small are
    skipped, and the first `count` of the others are used. Their logits are resized back and
    combined: at each pixel and class by their maximum (the paper's equation 1) or their mean.
    Pixels outside all windows have logits of 0. The softmax follows.

    With "max", negative logits count as 0, as in the authors' code and as outside a window in the
    paper's formula. The paper's equation 2 is a sum. It gives the same labels as the mean over the
    windows that contain a pixel, but the probabilities of the mean do not depend on the number of
    windows. An image without windows is treated as one window.

    The logits of all windows are kept: `count` maps of the network's size. Only 64 rows of the
    image are on the device at a time.

    Args:
      model: the network.
      window: (height, width) of the network's input, 224×224 as published.
      count: largest number of windows per image, 50 as published.
      min_side: smallest shorter side of an enlarged proposal in pixels; 112 in the authors' code.
      overlap: "max" or "mean".
      find: returns the proposals of an image, best first.
      boxes: instead of `find`, the proposals of images by name; `named` selects an image.

    Raises:
      InputError: an unknown overlap.
    """

    def __init__(
        self,
        model: nn.Module,
        window: Size = (224, 224),
        count: int = 50,
        min_side: int = 112,
        overlap: str = "max",
        find: Callable[[np.ndarray], Sequence[Box]] = propose,
        boxes: Mapping[str, Sequence[Box]] | None = None,
    ):
        if overlap not in OVERLAPS:
            raise InputError(f"overlap is {overlap!r}.", nearest(str(overlap), OVERLAPS))
        self._model, self._window, self._overlap = model, (window[0], window[1]), overlap
        self._count, self._min_side, self._find, self._boxes = count, min_side, find, boxes

    def named(self, name: str) -> "InstanceWise":
        """The inference for the image of this name; with `boxes`, one of their names."""
        if self._boxes is None:
            return self
        one, boxes = copy.copy(self), self._boxes[name]
        one._find = lambda image: boxes
        return one

    def windows(self, image: np.ndarray) -> list[Box]:
        """The windows of an image, uint8 [H, W, 3]; they may extend beyond it."""
        boxes = (enlarged(box) for box in self._find(shown(image)))
        large = (b for b in boxes if min(b[2] - b[0], b[3] - b[1]) >= self._min_side)
        return list(itertools.islice(large, self._count)) or [(0, 0, *image.shape[:2])]

    def logits(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        """The logits: float32 [height, width, C].

        Args:
          variables: the network's parameters and statistics.
          image: uint8 [H, W, 3].
          size: (height, width) of the result; None: the image's own.
        """
        return np.concatenate([np.asarray(s) for s in self._strips(variables, image, size)])

    def probabilities(
        self, variables: Any, image: np.ndarray, size: Size | None = None
    ) -> np.ndarray:
        """The probability of each class at each pixel: float32 [height, width, C]."""
        strips = self._strips(variables, image, size)
        return np.concatenate([np.asarray(jax.nn.softmax(strip)) for strip in strips])

    def labels(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        """The class of each pixel: uint8 [height, width]; ties go to the lower class."""
        strips = self._strips(variables, image, size)
        return np.concatenate([np.asarray(byte_labels(s)) for s in strips])

    def _strips(self, variables: Any, image: np.ndarray, size: Size | None) -> Iterator[jax.Array]:
        """The rows of `logits`, some at a time."""
        boxes = self.windows(image)
        maps = self._maps(variables, image, boxes)
        height, width = image.shape[:2] if size is None else size
        placed = np.array(boxes, np.float32) * np.tile(
            [height / image.shape[0], width / image.shape[1]], 2
        ).astype(np.float32)
        shape = min(_ROWS, height), round_up((1, width), _COLUMNS)[1]
        for top in range(0, height, _ROWS):
            strip = _laid(maps, jnp.asarray(placed), top, shape, self._overlap)
            yield strip[: height - top, :width]

    def _maps(self, variables: Any, image: np.ndarray, boxes: list[Box]) -> list[jax.Array]:
        """The logits of all windows, [b, *window, C] per batch; black windows fill up the last."""
        batches = []
        for first in range(0, len(boxes), _BATCH):
            pixels = np.zeros((_BATCH, *self._window, image.shape[2]), image.dtype)
            for slot, box in enumerate(boxes[first : first + _BATCH]):
                pixels[slot] = resize_image(cut(image, box, 0), self._window)
            batches.append(_logits(self._model, variables, pixels))
        return batches


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: nn.Module, variables, images: jax.Array) -> jax.Array:
    return model.apply(variables, normalize(images, model.preprocessing)).astype(jnp.float32)


def _laid(
    batches: list[jax.Array], boxes: jax.Array, top: int, shape: Size, overlap: str
) -> jax.Array:
    """The combined logits of all windows in the rows from `top`: [*shape, C]."""
    total, count = jnp.zeros((*shape, batches[0].shape[-1])), jnp.zeros((*shape, 1))
    for batch, first in zip(batches, range(0, len(boxes), _BATCH), strict=True):
        nowhere = jnp.zeros((_BATCH - len(boxes[first : first + _BATCH]), 4))
        where = jnp.concatenate([boxes[first : first + _BATCH], nowhere])
        total, count = _add(total, count, batch, where, top, overlap)
    return total if overlap == "max" else total / jnp.maximum(count, 1)


@functools.partial(jax.jit, static_argnums=5, donate_argnums=(0, 1))
def _add(total, count, maps, boxes, top, overlap: str):
    """Combines the logits of a batch of windows with the previous result."""
    rows, columns = total.shape[:2]

    def add(carry, window):
        above, _, below, _ = window[1]
        reaches = (below > top) & (above < top + rows)
        return jax.lax.cond(reaches, reaching, lambda carry, *_: carry, carry, *window), None

    def reaching(carry, logits, box):
        total, count = carry
        above, left, below, right = box
        down, in_rows = _resizing(logits.shape[0], top + jnp.arange(rows), above, below)
        across, in_columns = _resizing(logits.shape[1], jnp.arange(columns), left, right)
        inside = in_rows[:, None, None] & in_columns[:, None]
        laid = jnp.einsum(
            "Hh,hwc,Ww->HWc", down, logits, across, precision=jax.lax.Precision.HIGHEST
        )
        if overlap == "max":
            return jnp.maximum(total, jnp.where(inside, laid, 0)), count
        return total + jnp.where(inside, laid, 0), count + inside

    return jax.lax.scan(add, (total, count), (maps, boxes))[0]


def _resizing(
    size: int, pixels: jax.Array, start: jax.Array, end: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The bilinear resize of `size` values to the pixels from `start` to `end`, at some of them.

    A downscaling averages, as in image libraries.

    Returns:
      Weights [n, size] for n `pixels`, and which of the pixels are between `start` and `end`, [n].
    """
    scale = size / jnp.maximum(end - start, 1e-6)
    position = (pixels + 0.5 - start) * scale
    distance = jnp.abs(position[:, None] - jnp.arange(size) - 0.5) / jnp.maximum(scale, 1)
    weights = jnp.maximum(0, 1 - distance)
    weights /= jnp.maximum(weights.sum(1, keepdims=True), 1e-6)
    return weights, (pixels + 0.5 > start) & (pixels + 0.5 < end)
