"""Applies a network to images of any size in batches, with a limited number of programs."""

import collections
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.data import resize_image
from jaxseg.errors import InputError
from jaxseg.inference import protocol
from jaxseg.inference.inference import Inference
from jaxseg.inference.network import Network
from jaxseg.inference.padding import Layout, Layouts, Size, padded_heads
from jaxseg.inference.protocols import on_devices, seen_size
from jaxseg.models import normalize
from jaxseg.ops.byte_labels import byte_labels
from jaxseg.ops.strips import Strips, in_strips
from jaxseg.utils.image_kind import RGB

MOST_SIDE = 4096  # maximum length of the longer side in pixels
_LEAST_SIDE = 64
_LAYOUT_BYTES = 2**27  # limit on the cache of layouts
_RESULT_BYTES = 2**30  # limit on the probabilities of all classes, for protocols that store them


class Labelled(NamedTuple):
    """The label of each pixel, uint8 [H, W], and its probability, float32 [H, W]."""

    labels: np.ndarray
    probability: np.ndarray


class Labeller:
    """Labels images by the protocol of the network's evaluation.

    A network for whole images is compiled for few sizes, given by `bucket_side`. Smaller images are
    padded, without effect on their logits. Other protocols, such as sliding windows, process one
    image at a time.

    Args:
      network: from `jaxseg.load`.
      most_batch: images per batch; a partial batch is labelled one by one, so that each size needs
        only two programs.
      most_programs: maximum number of compiled programs; the least recently used one is dropped.
      compiled: called before each compilation.
    """

    def __init__(
        self,
        network: Network,
        *,
        most_batch: int = 4,
        most_programs: int = 32,
        compiled: Callable[[], None] = lambda: None,
    ):
        self._network, self._model = network, network.model
        if self._model.kind != RGB:
            raise InputError(
                f"The network needs images of {self._model.kind}, but the page supports only "
                "8-bit RGB.",
                "Use `python -m jaxseg predict` instead.",
            )
        self._most_batch, self._most_programs = most_batch, most_programs
        self._compiled = compiled
        config = network.eval
        self._in_buckets = config.protocol == "whole" and not config.ensemble and not config.crf
        self._inference = None if self._in_buckets else protocol(self._model, config)
        self._layouts = Layouts(self._model)
        self._programs: collections.OrderedDict[Hashable, Callable] = collections.OrderedDict()

    def bucket(self, size: Size) -> Hashable:
        """The key that images must share to be labelled together.

        Raises:
          InputError: the network does not support an image of this size.
        """
        self._check(size)
        if not self._in_buckets:
            return size
        return self._canvases(size)

    def takes_any_size(self) -> bool:
        """Whether the network supports sides that are not multiples of 32."""
        config = self._network.eval
        if not on_devices(config) or config.input_size:
            return True
        try:
            self._model.check_size(257, 259)
        except InputError:
            return False
        return True

    def __call__(self, images: Sequence[np.ndarray]) -> list[Labelled]:
        """Labels images uint8 [H, W, 3] of one bucket.

        Raises:
          InputError: the network does not support an image of this size.
        """
        if self._inference is not None:
            return [self._alone(self._inference, image) for image in images]
        results = []
        for part in _parts(images, self._most_batch):
            results += self._together(part)
        return results

    def _check(self, size: Size) -> None:
        if max(size) > MOST_SIDE:
            raise InputError(
                f"The image is {size[1]} wide and {size[0]} high; no side may have more than "
                f"{MOST_SIDE} pixels.",
                "Scale it down, or split it into parts.",
            )
        inputs = seen_size(self._network.eval, size) or size
        if self._network.eval.protocol == "whole":
            self._model.check_size(*inputs)
        if not self._in_buckets:
            most = _RESULT_BYTES // (4 * self._network.info.num_classes)
            if size[0] * size[1] > most:
                raise InputError(
                    f"The image has {size[0] * size[1]:,} pixels, but with "
                    f"{self._network.info.num_classes} classes this network's protocol supports "
                    f"only {most:,}.",
                    "Scale it down.",
                )

    def _canvases(self, size: Size) -> tuple[Size, Size]:
        """The compiled (height, width) of the network's input, and of the map of results."""
        inputs = seen_size(self._network.eval, size) or size
        own, result = ((bucket_side(s[0]), bucket_side(s[1])) for s in (inputs, size))
        return own, result

    def _together(self, images: Sequence[np.ndarray]) -> list[Labelled]:
        """Labels images of one bucket: a single one or a full batch."""
        sizes = [image.shape[:2] for image in images]
        canvas, result = self._canvases(sizes[0])
        pixels = np.zeros((len(images), *canvas, 3), np.uint8)
        for slot, image in enumerate(images):
            seen = resize_image(image, seen_size(self._network.eval, sizes[slot]))
            pixels[slot, : seen.shape[0], : seen.shape[1]] = seen
        layout = self._layout(canvas, result, sizes)
        program = self._program((len(images), canvas, result), pixels, layout)
        labels, probability = map(np.asarray, program(self._network.variables, pixels, layout))
        return [
            Labelled(labels[slot, :height, :width], probability[slot, :height, :width])
            for slot, (height, width) in enumerate(sizes)
        ]

    def _layout(self, canvas: Size, result: Size, sizes: Sequence[Size]) -> Layout:
        if self._layouts.nbytes > _LAYOUT_BYTES:
            self._layouts = Layouts(self._model)
        variables, config = self._network.variables, self._network.eval
        if seen_size(config, sizes[0]) is None:
            return self._layouts(variables, canvas, sizes)
        each = [
            self._layouts.resized(variables, seen_size(config, size) or size, size, result, canvas)
            for size in sizes
        ]
        return Layout(*(np.concatenate(arrays) for arrays in zip(*each, strict=True)))

    def _program(self, key: Hashable, images: np.ndarray, layout: Layout) -> Callable:
        if key not in self._programs:
            self._compiled()
            like = jax.tree.map(_shape, (self._network.variables, images, layout))
            run = jax.jit(lambda *args: _labelled(self._model, *args))
            self._programs[key] = run.lower(*like).compile()
            if len(self._programs) > self._most_programs:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]

    def _alone(self, inference: Inference, image: np.ndarray) -> Labelled:
        likely = inference.probabilities(self._network.variables, image)
        labels = byte_labels(likely)
        return Labelled(labels, np.take_along_axis(likely, labels[..., None], axis=-1)[..., 0])


def bucket_side(pixels: int) -> int:
    """The padded length of an image's side: there are four between consecutive powers of two.

    >>> [bucket_side(n) for n in (1, 65, 256, 257, 500, 1000)]
    [64, 128, 256, 320, 512, 1024]
    """
    step = max(_LEAST_SIDE, 2 ** max((pixels - 1).bit_length() - 1, 0) // 4)
    return -(-pixels // step) * step


def _parts(images: Sequence[np.ndarray], most: int) -> list[Sequence[np.ndarray]]:
    """Batches of `most` images, and the remaining images one by one."""
    full = len(images) // most * most
    parts = [images[i : i + most] for i in range(0, full, most)]
    return parts + [[image] for image in images[full:]]


def _shape(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _labelled(model, variables, images: jax.Array, layout: Layout) -> tuple[jax.Array, jax.Array]:
    """The labels and their probabilities, [N, H, W] each, computed in strips."""
    logits, upsampling = padded_heads(
        model, variables, normalize(images, model.preprocessing), layout
    )
    return in_strips(_labelled_in, upsampling, None, logits.astype(jnp.float32))


def _labelled_in(strips: Strips, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    def body(carry, start, weights):
        z = strips.read(logits, start, weights)
        return carry, (
            byte_labels(z),
            1 / jnp.exp(z - z.max(axis=-1, keepdims=True)).sum(axis=-1),
        )

    labels, probability = strips.scan(body, None)[1]
    return strips.join(labels), strips.join(probability)
