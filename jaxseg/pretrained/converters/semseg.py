"""semseg's PSPNets and its ImageNet ResNets with a stem of three convolutions (hszhao/semseg)."""

from jaxseg.pretrained import convert
from jaxseg.pretrained.converters.pytorch_layers import (
    Layer,
    block,
    is_torch,
    stem_in_turn,
    take_from,
    torch_depth,
    unused,
)
from jaxseg.pretrained.converters.resnet_depth import resnet_name
from jaxseg.pretrained.converters.source import Fit, Keep, Source
from jaxseg.pretrained.tensor_file import TensorFile

_BINS = (1, 2, 3, 6)


def _fits(file: TensorFile) -> list[Fit]:
    depth = torch_depth(file)
    fields = {
        "depth": depth,
        "stem": "deep",
        "stride_on": "3x3",
        "output_stride": 8,
        "dilate_first": True,
        "bins": _BINS,
        "pooling": "avg",
        "reduce": True,
        "align_corners": True,
    }
    classes = convert.outputs(file.tensors["cls.4.weight"])
    return [Fit(resnet_name("pspnet_resnet", depth, (50, 101, 152)), fields, "imagenet", classes)]


def _place(file: TensorFile, layer: Layer) -> tuple[str, str] | Keep:
    part, *rest = layer
    if part == "backbone" and len(rest) == 1:
        conv, norm = stem_in_turn(rest[0])
        return f"layer0.{conv}", f"layer0.{norm}"
    if part == "backbone":
        return block(tuple(rest))
    if part.startswith("level"):
        at = f"ppm.features.{_BINS.index(int(part.removeprefix('level')))}"
        return f"{at}.1", f"{at}.2"
    at = {"head": "cls", "aux": "aux"}[part]
    if f"{at}.0.weight" not in file.tensors and part == "aux":
        return Keep("the file has no auxiliary head")
    return (f"{at}.0", f"{at}.1") if rest == ["conv"] else (f"{at}.4", "")


def _fits_resnet(file: TensorFile) -> list[Fit]:
    depth = torch_depth(file)
    fields = {"depth": depth, "stem": "deep", "stride_on": "3x3"}
    return [
        Fit(resnet_name("pspnet_resnet", depth, (50, 101, 152)), fields, "imagenet"),
        Fit(resnet_name("fcn_resnet", depth, (50, 101)), fields, "imagenet"),
    ]


def _place_resnet(file: TensorFile, layer: Layer) -> tuple[str, str] | Keep:
    part, *rest = layer
    if part != "backbone":
        return Keep("the classifier has no such layer")
    return (rest[0], rest[0].replace("conv", "bn")) if len(rest) == 1 else block(tuple(rest))


SEMSEG_PSPNET = Source(
    name="semseg_pspnet",
    title="semseg's PSPNet",
    recognises=lambda file: (
        is_torch(file)
        and {"layer0.0.weight", "ppm.features.0.1.weight", "cls.4.weight"} <= set(file.tensors)
    ),
    fits=_fits,
    take=take_from(_place),
    unused=unused,
)

SEMSEG_RESNET = Source(
    name="semseg_resnet",
    title="semseg's ImageNet ResNet",
    recognises=lambda file: (
        is_torch(file)
        and {"conv1.weight", "conv3.weight", "layer1.0.conv3.weight"} <= set(file.tensors)
    ),
    fits=_fits_resnet,
    take=take_from(_place_resnet),
    unused=unused,
)
