"""The PSPNets released in Caffe (github.com/hszhao/PSPNet)."""

import flax.linen as nn
import numpy as np

from jaxseg.models.resnet import BLOCKS
from jaxseg.pretrained import convert
from jaxseg.pretrained.converters.resnet_depth import resnet_depth, resnet_name
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.tensor_file import TensorFile

_STEM = {"conv1": "conv1_1_3x3_s2", "conv2": "conv1_2_3x3", "conv3": "conv1_3_3x3"}
_BOTTLENECK = {
    "conv1": "1x1_reduce",
    "conv2": "3x3",
    "conv3": "1x1_increase",
    "project": "1x1_proj",
}


def _depth(file: TensorFile) -> int:
    return resnet_depth(file, r"conv([2-5])_\d+_1x1_reduce/0")


def _fits(file: TensorFile) -> list[Fit]:
    depth = _depth(file)
    fields = {
        "depth": depth,
        "stem": "deep",
        "stride_on": "1x1",
        "output_stride": 8,
        "dilate_first": True,
        "bins": (1, 2, 3, 6),
        "pooling": "avg",
        "reduce": True,
        "align_corners": True,
    }
    name = resnet_name("pspnet_resnet", depth, (50, 101, 152, 269))
    return [Fit(name, fields, "caffe_pspnet", convert.outputs(file.tensors["conv6/0"]))]


def _take(file: TensorFile, model: nn.Module, name: str) -> Take | Keep:
    _, part, *rest = name.split("/")
    if part == "aux":
        return Keep("the file has no auxiliary head")
    blocks = BLOCKS[_depth(file)][-1]
    if part.startswith("level"):
        layer = f"conv5_{blocks}_pool{part.removeprefix('level')}_conv"
    elif part == "head":
        layer = f"conv5_{blocks + 1}" if rest.pop(0) == "conv" else "conv6"
    else:
        at = rest.pop(0)
        if at in _STEM:
            layer = _STEM[at]
        else:
            stage, block = at.removeprefix("layer").split("_block")
            layer = f"conv{int(stage) + 1}_{block}_{_BOTTLENECK[rest.pop(0)]}"
    if rest[0] == "bn":
        return _norm(file, f"{layer}/bn", rest[1])
    if rest[0] == "bias":
        return Take((f"{layer}/1",), convert.vector)
    if layer == _STEM["conv1"]:
        return Take((f"{layer}/0",), convert.conv_from_bgr)
    joined = layer == f"conv5_{blocks + 1}"
    return Take((f"{layer}/0",), _conv_of_pyramid if joined else convert.conv)


def _norm(file: TensorFile, layer: str, leaf: str) -> Take:
    """Batch norm: PSPNet's layer has all four blobs; Caffe's own has a separate Scale layer."""
    if f"{layer}/scale/0" not in file.tensors:
        blob = ("scale", "bias", "mean", "var").index(leaf)
        return Take((f"{layer}/{blob}",), convert.vector)
    if leaf in ("scale", "bias"):
        return Take((f"{layer}/scale/{('scale', 'bias').index(leaf)}",), convert.vector)
    return Take((f"{layer}/{('mean', 'var').index(leaf)}", f"{layer}/2"), convert.moving_average)


def _conv_of_pyramid(weight: np.ndarray) -> np.ndarray:
    """The head's kernel: Caffe concatenates the finest pyramid level first, jaxseg last."""
    half = weight.shape[1] // 2
    six, three, two, one = np.split(weight[:, half:], 4, axis=1)
    return convert.conv(np.concatenate([weight[:, :half], one, two, three, six], axis=1))


CAFFE_PSPNET = Source(
    name="caffe_pspnet",
    title="a PSPNet in Caffe",
    recognises=lambda file: (
        file.container == "caffe" and {"conv1_1_3x3_s2/0", "conv6/0"} <= set(file.tensors)
    ),
    fits=_fits,
    take=_take,
)
