"""The evaluation protocols of `config.eval`: how a network is applied to an image."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import ml_collections
import numpy as np

from jaxseg.data import resize_image
from jaxseg.data.batches import round_up
from jaxseg.data.boxes_file import read_boxes_of_all
from jaxseg.errors import InputError
from jaxseg.inference.crf.dense_crf import CRFS
from jaxseg.inference.ensemble import Ensemble, WithCRF
from jaxseg.inference.inference import Inference
from jaxseg.inference.instances import InstanceWise
from jaxseg.inference.padding import Layouts, Size
from jaxseg.inference.sliding import Sliding
from jaxseg.inference.whole_image import image_labels, image_logits, image_probabilities
from jaxseg.pretrained.trained import open_trained
from jaxseg.utils.paths import given_path

_RESIZED = 64  # results of resized images are compiled for multiples of this size


def protocol(
    model: nn.Module,
    config: ml_collections.ConfigDict,
    sizes: Callable[[], Mapping[str, Size]] | None = None,
) -> Inference:
    """Creates the inference of a network by the protocol in a run's `config.eval`.

    Args:
      model: the network.
      config: the group `eval` of a run's config.
      sizes: returns the (height, width) of each image by name; used to check the boxes if there is
        a file of boxes. In that case use `named`.

    Raises:
      InputError: `config.ensemble` is not a network with the same classes; `config.boxes` is
        invalid, or the images have no names.

    >>> import jax, jaxseg
    >>> from jaxseg.config import default_config
    >>> model = jaxseg.create_model("fcn8s_vgg16", num_classes=3, width=0.05, padding=1)
    >>> variables = jax.jit(model.init)(jax.random.key(0), jax.numpy.zeros([1, 40, 60, 3]))
    >>> inference = protocol(model, default_config().eval)
    >>> inference.labels(variables, np.zeros([40, 60, 3], np.uint8)).shape
    (40, 60)
    """
    inference = _alone(model, config, sizes)
    if config.ensemble is not None:
        other = open_trained(config.ensemble)
        if other.info.num_classes != model.num_classes:
            raise InputError(
                f"The network in {config.ensemble} has {other.info.num_classes} classes, but the "
                f"other one has {model.num_classes}.",
                "Use a network that was trained on the same classes.",
            )
        second = _alone(other.model, other.eval, sizes)
        inference = Ensemble(inference, second, other.variables, config.ensemble_rule)
    return inference if config.crf is None else WithCRF(inference, CRFS[config.crf])


def on_devices(config: ml_collections.ConfigDict) -> bool:
    """Whether labels come only from the logits of whole images, so that devices can count them."""
    alone = config.ensemble is None and config.crf is None
    return config.protocol == "whole" and config.fit is None and alone


def _alone(
    model: nn.Module,
    config: ml_collections.ConfigDict,
    sizes: Callable[[], Mapping[str, Size]] | None,
) -> Inference:
    """The network with its protocol, without an ensemble or a CRF."""
    if config.protocol == "instances":
        boxes = None
        if config.boxes is not None:
            if sizes is None:
                raise InputError(
                    f"config.eval.boxes is {config.boxes!r}, but single images have no names to "
                    "look up in it.",
                    "Use `python -m jaxseg predict`, or set eval.boxes to None.",
                )
            boxes = read_boxes_of_all(given_path(config.boxes), sizes())
        return InstanceWise(
            model, config.crop, config.windows, config.min_side, config.overlap, boxes=boxes
        )
    if config.protocol == "sliding":
        return Sliding(
            model,
            config.crop,
            base_size=config.base_size,
            scales=config.scales,
            flip=config.flip,
            fusion=config.fusion,
            batch_size=config.batch_size,
        )
    return WholeImage(model, config.input_size, config.pad_to, config.fit)


def describe(config: ml_collections.ConfigDict) -> str:
    """A description of the protocol in a run's `config.eval`, printed with the metrics.

    >>> from jaxseg.config import default_config
    >>> describe(default_config().eval)
    'whole images'
    """
    text = _describe_alone(config)
    if config.ensemble is not None:
        text += f", {config.ensemble_rule} with {config.ensemble}"
    return text if config.crf is None else f"{text}, dense CRF as {config.crf}"


def _describe_alone(config: ml_collections.ConfigDict) -> str:
    if config.protocol == "instances":
        of_file = "" if config.boxes is None else f" in {config.boxes}"
        return (
            f"windows of {_times(config.crop)} around the first {config.windows} "
            f"proposals{of_file} of at least {config.min_side} pixels, {config.overlap} of their "
            "logits"
        )
    if config.protocol == "sliding":
        parts = [
            f"sliding windows of {_times(config.crop)}",
            f"scales {', '.join(f'{scale:g}' for scale in config.scales)}",
            *([f"of a long side of {config.base_size}"] if config.base_size else []),
            *(["mirrored too"] if config.flip else []),
            f"as in {config.fusion}",
        ]
        return ", ".join(parts)
    if config.fit:
        return f"whole images, scaled to fit {_times(config.fit)}"
    if config.input_size:
        return f"whole images, resized to {_times(config.input_size)}"
    return "whole images"


class WholeImage:
    """Applies the network once, to the whole image (FCN, section 5).

    Args:
      model: the network.
      input_size: (height, width) to which the image is resized first; None: no resize.
      pad_to: the network is compiled only for multiples of this size. Images of other sizes are
        padded, without effect on their logits. None: the network is compiled for each size.
      fit: (long side, short side) that the image is scaled to fit; replaces `input_size`.
    """

    def __init__(
        self,
        model: nn.Module,
        input_size: Size | None = None,
        pad_to: int | None = None,
        fit: Size | None = None,
    ):
        self._model, self._input_size, self._pad_to = model, input_size, pad_to
        self._fit = fit
        self._layouts = Layouts(model)

    def named(self, name: str) -> "WholeImage":
        """Returns itself; names are not needed."""
        return self

    def labels(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        return self._run(image_labels, variables, image, size)

    def probabilities(
        self, variables: Any, image: np.ndarray, size: Size | None = None
    ) -> np.ndarray:
        return self._run(image_probabilities, variables, image, size)

    def logits(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        """The logits: float32 [height, width, C]."""
        return self._run(image_logits, variables, image, size)

    def _run(self, function: Callable, variables, image, size):
        own = image.shape[:2]
        input_size = self._input_size if self._fit is None else fitted_size(own, self._fit)
        inputs = resize_image(image, input_size)
        if input_size is not None:
            height, width = size or own
            canvas = round_up((height, width), _RESIZED)
            layout = self._layouts.resized(variables, input_size, (height, width), canvas)
            result = function(self._model, variables, inputs[None], canvas, layout)
            return np.asarray(result)[0, :height, :width]
        canvas = round_up(own, self._pad_to)
        if self._pad_to is None or size not in (None, own):
            return np.asarray(function(self._model, variables, inputs[None], size or own))[0]
        inputs = np.zeros((1, *canvas, image.shape[2]), image.dtype)
        inputs[0, : own[0], : own[1]] = image
        layout = self._layouts(variables, canvas, [own])
        result = function(self._model, variables, inputs, canvas, layout)
        return np.asarray(result)[0, : own[0], : own[1]]


def seen_size(config: ml_collections.ConfigDict, size: Size) -> Size | None:
    """The size to which a whole image of (height, width) `size` is resized; None: no resize."""
    return config.input_size if config.fit is None else fitted_size(size, config.fit)


def fitted_size(size: Size, fit: Size) -> Size:
    """The size of an image scaled to fit, with its aspect ratio.

    Args:
      size: (height, width).
      fit: the limits of the longer and the shorter side.

    >>> fitted_size((375, 500), (2048, 512)), fitted_size((500, 3000), (2048, 512))
    ((512, 683), (341, 2048))
    """
    scale = min(max(fit) / max(size), min(fit) / min(size))
    height, width = (max(int(side * scale + 0.5), 1) for side in size)
    return height, width


def _times(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
