"""ImageNet VGG16s with torchvision's names as convolutional networks (Long et al. 2015, 3.1).

Four kinds of files have these names: torchvision's own with and without batch norm, its copy of
amdegroot's convolutions, and wkentaro/pytorch-fcn's copy of Caffe's network. The last two have
other input normalisations, and the last one takes BGR images.
"""

import functools
import re

import flax.linen as nn
import numpy as np

from jaxseg.models.vgg import VGG16_BLOCKS
from jaxseg.nn.convolution import ConvBlock
from jaxseg.pretrained import convert
from jaxseg.pretrained.converters.pytorch_layers import is_torch, take_from, unused
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.tensor_file import TensorFile

_FCNS = ("fcn8s_vgg16", "fcn8s_atonce_vgg16", "fcn16s_vgg16", "fcn32s_vgg16")
_CLASSIFIER = {"fc6": "classifier.0", "fc7": "classifier.3", "score_fr": "classifier.6"}


def _convolutions(batch_norm: bool) -> dict[str, int]:
    """The index of each convolution in `features`, which also counts norm, ReLU and pooling."""
    places, at = {}, 0
    for block, convolutions, _ in VGG16_BLOCKS:
        for i in range(1, convolutions + 1):
            places[f"conv{block}_{i}"] = at
            at += 3 if batch_norm else 2
        at += 1  # for the pooling
    return places


_PLAIN, _NORMED = _convolutions(False), _convolutions(True)


def _recognises(file: TensorFile, *, batch_norm: bool, features_only: bool = False) -> bool:
    """Whether a file has exactly the convolutions of VGG16 (those of VGG13 or 19 differ)."""
    found = (re.fullmatch(r"features\.(\d+)\.weight", name) for name in file.tensors)
    numbers = {int(match[1]) for match in found if match}
    want = set(_PLAIN.values())
    if batch_norm:
        want = {n + k for n in _NORMED.values() for k in (0, 1)}
    return is_torch(file) and numbers == want and (not features_only or _is_unset(file))


def _is_unset(file: TensorFile) -> bool:
    """Whether the classifier is filled with NaN."""
    names = [name for name in file.tensors if name.startswith("classifier.")]
    return any(np.isnan(file.tensors[name].reshape(-1)[:100]).any() for name in names)


def _fits(file: TensorFile, *, normalization: str) -> list[Fit]:
    return [Fit(name, {}, normalization) for name in (*_FCNS, "deconvnet_vgg16")]


def _fits_normed(file: TensorFile) -> list[Fit]:
    return [Fit(name, {"norm": "batch"}, "imagenet") for name in _FCNS]


def _take(
    file: TensorFile,
    model: nn.Module,
    name: str,
    *,
    batch_norm: bool = False,
    features_only: bool = False,
    bgr: bool = False,
) -> Take | Keep:
    _, *path, leaf = name.split("/")
    layer, norm = path[0], path[-1] == "bn"
    if layer in _CLASSIFIER:
        if features_only:
            return Keep("the file has only VGG16's features")
        if norm and batch_norm:
            return _identity(leaf, _CLASSIFIER[layer])
        if layer == "score_fr" and _classes(file) != model.num_classes:
            return Keep("the classifier has other classes")
        place = (_CLASSIFIER[layer], "")
        kernel = convert.linear(7 if layer == "fc6" else 1)
    elif layer in _PLAIN:
        at = (_NORMED if batch_norm else _PLAIN)[layer]
        place = (f"features.{at}", f"features.{at + 1}")
        kernel = convert.conv_from_bgr if bgr and layer == "conv1_1" else convert.conv
    else:
        return Keep("the classifier has no such layer")
    if norm and not batch_norm:
        return Keep("the classifier has no batch norm")
    return take_from(lambda file, layer: place, kernel)(file, model, name)


def _classes(file: TensorFile) -> int:
    bias = file.tensors.get("classifier.6.bias")
    return 0 if bias is None else bias.size


def _identity(leaf: str, linear: str) -> Take:
    """An identity batch norm, with as many channels as the classifier's layer `linear`."""
    value = {"scale": 1.0, "bias": 0.0, "mean": 0.0, "var": 1 - ConvBlock.bn_epsilon}[leaf]
    return Take((f"{linear}.bias",), lambda bias: np.full(bias.size, value, np.float32))


def _unused_features(file: TensorFile, model: nn.Module, name: str) -> str | None:
    if name.startswith("classifier."):
        return "not numbers: the file has only VGG16's features"
    return None


TORCHVISION_AMDEGROOT = Source(
    name="torchvision_vgg16-amdegroot",
    title="torchvision's VGG16 with amdegroot's features only",
    recognises=functools.partial(_recognises, batch_norm=False, features_only=True),
    fits=functools.partial(_fits, normalization="caffe_vgg_rounded"),
    take=functools.partial(_take, features_only=True),
    unused=_unused_features,
)

TORCHVISION_VGG16 = Source(
    name="torchvision_vgg16",
    title="torchvision's VGG16",
    recognises=functools.partial(_recognises, batch_norm=False),
    fits=functools.partial(_fits, normalization="imagenet"),
    take=_take,
    unused=unused,
    notes=(
        "pytorch-fcn's copy of Caffe's VGG16 has the same names but expects BGR images, which "
        "the file does not record: load that one with source='pytorch-fcn'.",
    ),
)

TORCHVISION_VGG16_BN = Source(
    name="torchvision_vgg16-bn",
    title="torchvision's VGG16 with batch norm",
    recognises=functools.partial(_recognises, batch_norm=True),
    fits=_fits_normed,
    take=functools.partial(_take, batch_norm=True),
    unused=unused,
    notes=(
        "The file has no batch norm after fc6 and fc7: there the network's batch norm is the "
        "identity until it is trained.",
    ),
)

PYTORCH_FCN_VGG16 = Source(
    name="pytorch-fcn_vgg16",
    title="pytorch-fcn's copy of Caffe's VGG16",
    recognises=functools.partial(_recognises, batch_norm=False),
    fits=functools.partial(_fits, normalization="caffe_vgg"),
    take=functools.partial(_take, bgr=True),
    unused=unused,
)
