"""torchvision's ResNets, and its FCNs on them; its AlexNet and GoogLeNet, which fit no network.

Its VGG16s are in `pytorch_vgg`.
"""

import functools

import flax.linen as nn

from jaxseg.errors import InputError
from jaxseg.pretrained import convert
from jaxseg.pretrained.converters.pytorch_layers import (
    Layer,
    block,
    is_torch,
    take_from,
    torch_depth,
    unused,
)
from jaxseg.pretrained.converters.resnet_depth import resnet_name
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.tensor_file import TensorFile

_FCNS, _PSPNETS = (18, 34, 50, 101), (18, 34, 50, 101, 152)  # depths in model names


def _fits_fcn(file: TensorFile) -> list[Fit]:
    depth = torch_depth(file, "backbone.")
    fields = {
        "depth": depth,
        "stem": "7x7",
        "stride_on": "3x3",
        "output_stride": 8,
        "head_convs": 1,
        "concat_input": False,
        "align_corners": False,
    }
    classes = convert.outputs(file.tensors["classifier.4.weight"])
    return [Fit(resnet_name("fcn_resnet", depth, _FCNS), fields, "imagenet", classes)]


def _place_fcn(file: TensorFile, layer: Layer) -> tuple[str, str] | Keep:
    part, *rest = layer
    if part == "backbone":
        conv, norm = _backbone(tuple(rest))
        return f"backbone.{conv}", f"backbone.{norm}"
    at = {"head": "classifier", "aux": "aux_classifier"}[part]
    if part == "aux" and "aux_classifier.0.weight" not in file.tensors:
        return Keep("the file has no auxiliary head")
    return (f"{at}.0", f"{at}.1") if rest == ["conv"] else (f"{at}.4", "")


def _fits_resnet(file: TensorFile) -> list[Fit]:
    depth = torch_depth(file)
    fields = {"depth": depth, "stem": "7x7", "stride_on": "3x3"}
    fits = [
        Fit(resnet_name("fcn_resnet", depth, _FCNS), fields, "imagenet"),
        Fit(resnet_name("pspnet_resnet", depth, _PSPNETS), fields, "imagenet"),
    ]
    return fits[::-1] if depth == 152 else fits  # first the one with the depth in its name


def _place_resnet(file: TensorFile, layer: Layer) -> tuple[str, str] | Keep:
    part, *rest = layer
    return (
        _backbone(tuple(rest)) if part == "backbone" else Keep("the classifier has no such layer")
    )


def _backbone(layer: Layer) -> tuple[str, str]:
    return ("conv1", "bn1") if layer == ("conv1",) else block(layer)


def _fits_nothing(file: TensorFile, *, why: str, instead: str) -> list[Fit]:
    raise InputError(f"{file.path} does not fit any jaxseg network: {why}.", instead)


def _takes_nothing(file: TensorFile, model: nn.Module, name: str) -> Take | Keep:
    return Keep("the file fits no network")


TORCHVISION_FCN = Source(
    name="torchvision_fcn-resnet",
    title="torchvision's FCN on a ResNet",
    recognises=lambda file: (
        is_torch(file)
        and {"backbone.conv1.weight", "backbone.layer1.0.conv2.weight"} <= set(file.tensors)
        and {"classifier.0.weight", "classifier.4.weight"} <= set(file.tensors)
    ),
    fits=_fits_fcn,
    take=take_from(_place_fcn),
    unused=unused,
)

TORCHVISION_RESNET = Source(
    name="torchvision_resnet",
    title="torchvision's ImageNet ResNet",
    recognises=lambda file: (
        is_torch(file)
        and {"conv1.weight", "layer1.0.conv2.weight"} <= set(file.tensors)
        and "conv3.weight" not in file.tensors
    ),
    fits=_fits_resnet,
    take=take_from(_place_resnet),
    unused=unused,
)

TORCHVISION_ALEXNET = Source(
    name="torchvision_alexnet",
    title="torchvision's AlexNet",
    recognises=lambda file: (
        is_torch(file)
        and file.tensors.keys() >= {"features.0.weight", "features.10.weight"}
        and file.tensors["features.0.weight"].shape[2:] == (11, 11)
    ),
    fits=functools.partial(
        _fits_nothing,
        why=(
            "torchvision's AlexNet is the one-tower variant of 2014, with 64, 192, 384, 256 and "
            "256 channels and no groups, but the CaffeNet of FCN-AlexNet has 96, 256, 384, 384 "
            "and 256 in groups of two; it has no local response normalisation; and its first "
            "convolution has padding 2, CaffeNet's none"
        ),
        instead="Start fcn32s_alexnet from Caffe's bvlc_reference_caffenet.caffemodel.",
    ),
    take=_takes_nothing,
)

TORCHVISION_GOOGLENET = Source(
    name="torchvision_googlenet",
    title="torchvision's GoogLeNet",
    recognises=lambda file: is_torch(file) and "inception3a.branch1.conv.weight" in file.tensors,
    fits=functools.partial(
        _fits_nothing,
        why=(
            "torchvision's GoogLeNet has batch norm (epsilon 0.001) after every convolution and "
            "no bias, but FCN-GoogLeNet has a bias and two local response normalisations; "
            "branch3 of its nine inceptions has 3×3 convolutions instead of 5×5; its fourth "
            "pooling has a window of 2×2, not 3×3; and it expects images scaled to -1..1"
        ),
        instead="Start fcn32s_googlenet from Caffe's bvlc_googlenet.caffemodel.",
    ),
    take=_takes_nothing,
)
