"""Tensor names in PyTorch files: the parts of a layer, and the layers of a ResNet."""

import re
from collections.abc import Callable

import flax.linen as nn
import numpy as np

from jaxseg.pretrained import convert
from jaxseg.pretrained.converters.resnet_depth import resnet_depth
from jaxseg.pretrained.converters.source import Keep, Take
from jaxseg.pretrained.tensor_file import TensorFile

Layer = tuple[str, ...]
"""Path of a layer in the network: ("backbone", "layer1_block1", "conv1")."""

Place = Callable[[TensorFile, Layer], tuple[str, str] | Keep]
"""Returns the names of a layer's convolution and batch norm in a file."""

_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def is_torch(file: TensorFile) -> bool:
    """Whether a file may have PyTorch's tensor names."""
    return file.container in ("torch", "safetensors")


def take_from(place: Place, kernel: Callable[[np.ndarray], np.ndarray] = convert.conv):
    """A `Source.take` for layers with a convolution and optional batch norm; `kernel` converts."""

    def take(file: TensorFile, model: nn.Module, name: str) -> Take | Keep:
        _, *path, leaf = name.split("/")
        norm = path[-1] == "bn"
        found = place(file, tuple(path[:-1] if norm else path))
        if isinstance(found, Keep):
            return found
        if norm:
            return Take((f"{found[1]}.{_NORM[leaf]}",), convert.vector)
        if leaf == "bias":
            return Take((f"{found[0]}.bias",), convert.vector)
        return Take((f"{found[0]}.weight",), kernel)

    return take


def unused(file: TensorFile, model: nn.Module, name: str) -> str | None:
    """The `Source.unused` of several PyTorch sources."""
    if name.endswith(".num_batches_tracked"):
        return "the number of batches in the statistics, which no layer needs"
    if name.startswith(("fc.", "classifier.")):
        return "the logits layer of the ImageNet classes"
    return None


def torch_depth(file: TensorFile, prefix: str = "") -> int:
    """The depth of the ResNet with stages `prefix`layer1 to 4; see `resnet_depth`."""
    basic = f"{prefix}layer1.0.conv3.weight" not in file.tensors
    last = "conv2" if basic else "conv3"
    return resnet_depth(file, re.escape(prefix) + rf"layer([1-4])\.\d+\.{last}\.weight", basic)


def block(layer: Layer) -> tuple[str, str]:
    """The names of ("layer3_block2", "conv1") in a file: layer3.1.conv1 and layer3.1.bn1."""
    stage, number = layer[0].split("_block")
    at = f"{stage}.{int(number) - 1}."
    if layer[1] == "project":
        return at + "downsample.0", at + "downsample.1"
    return at + layer[1], at + layer[1].replace("conv", "bn")


def stem_in_turn(conv: str) -> tuple[str, str]:
    """The indices of a stem's convolution and batch norm in a sequence conv, norm, ReLU, ..."""
    first = 3 * (int(conv.removeprefix("conv")) - 1)
    return str(first), str(first + 1)
