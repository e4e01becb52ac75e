"""mmsegmentation's PSPNets and FCNs on ResNet and ResNet-v1c (open-mmlab/mmsegmentation)."""

import functools
import re
from typing import Any

from jaxseg.pretrained import convert
from jaxseg.pretrained.resnet_depth import resnet_name
from jaxseg.pretrained.source import Fit, Keep, Source
from jaxseg.pretrained.tensor_file import TensorFile
from jaxseg.pretrained.torch_layers import (
    Layer,
    bottleneck,
    is_torch,
    stem_in_turn,
    take_from,
    torch_depth,
    unused,
)

_BINS = (1, 2, 3, 6)
_PSP = {"psp_modules", "bottleneck", "conv_seg"}  # the parts of each head, and no others:
_FCN = {"convs", "conv_cat", "conv_seg"}  # many heads there have these and something besides


def _parts(file: TensorFile) -> set[str]:
    """The parts of the decode head."""
    names = (name.split(".") for name in file.tensors if name.startswith("decode_head."))
    return {name[1] for name in names}


def _recognises(file: TensorFile) -> bool:
    parts = _parts(file)
    return (
        is_torch(file)
        and "backbone.layer1.0.conv3.weight" in file.tensors
        and (parts == _PSP or parts in (_FCN, _FCN - {"conv_cat"}))
    )


def _fits(file: TensorFile, *, align_corners: bool) -> list[Fit]:
    depth = torch_depth(file, "backbone.")
    fields: dict[str, Any] = {
        "depth": depth,
        "stem": "v1c" if "backbone.stem.0.weight" in file.tensors else "7x7",
        "stride_on": "3x3",
        "output_stride": 8,
        "align_corners": align_corners,
    }
    classes = convert.outputs(file.tensors["decode_head.conv_seg.weight"])
    parts = _parts(file)
    if parts == _PSP:
        fields |= {"dilate_first": False, "bins": _BINS, "pooling": "avg", "reduce": True}
        name = resnet_name("pspnet_resnet", depth, (50, 101, 152))
    else:
        convs = [re.fullmatch(r"decode_head\.convs\.\d+\.conv\.weight", n) for n in file.tensors]
        fields |= {"head_convs": sum(map(bool, convs)), "concat_input": "conv_cat" in parts}
        name = resnet_name("fcn_resnet", depth, (50, 101))
    return [Fit(name, fields, "imagenet", classes)]


def _place(file: TensorFile, layer: Layer) -> tuple[str, str] | Keep:
    part, *rest = layer
    if part == "backbone" and len(rest) == 2:
        conv, norm = bottleneck(tuple(rest))
        return f"backbone.{conv}", f"backbone.{norm}"
    if part == "backbone":
        if "backbone.stem.0.weight" not in file.tensors:
            return "backbone.conv1", "backbone.bn1"
        conv, norm = stem_in_turn(rest[0])
        return f"backbone.stem.{conv}", f"backbone.stem.{norm}"
    if part.startswith("level"):
        at = f"decode_head.psp_modules.{_BINS.index(int(part.removeprefix('level')))}.1"
        return f"{at}.conv", f"{at}.bn"
    if part == "aux" and "auxiliary_head.conv_seg.weight" not in file.tensors:
        return Keep("the file has no auxiliary head")
    head = {"head": "decode_head", "aux": "auxiliary_head"}[part]
    if rest == ["score"]:
        return f"{head}.conv_seg", ""
    if rest == ["conv_concat"]:
        at = f"{head}.conv_cat"
    elif part == "head" and "decode_head.bottleneck.conv.weight" in file.tensors:
        at = f"{head}.bottleneck"
    else:
        at = f"{head}.convs.{int(rest[0].removeprefix('conv') or 1) - 1}"
    return f"{at}.conv", f"{at}.bn"


_SAME_NAMES = (
    "mmsegmentation's FCN-D6 and PSPNet-D32 have the same names inside, but other dilations: "
    "this is right for their D8 networks only."
)

MMSEG = Source(
    name="mmseg",
    title="mmsegmentation's PSPNet or FCN",
    recognises=_recognises,
    fits=functools.partial(_fits, align_corners=False),
    take=take_from(_place),
    unused=unused,
    notes=(
        "One that was trained on crops of 769×769 resizes from corner to corner: load that with "
        "source='mmseg_769x769'. The file does not say so.",
        _SAME_NAMES,
    ),
)

MMSEG_769 = Source(
    name="mmseg_769x769",
    title="mmsegmentation's PSPNet or FCN for crops of 769×769",
    recognises=_recognises,
    fits=functools.partial(_fits, align_corners=True),
    take=take_from(_place),
    unused=unused,
    notes=(_SAME_NAMES,),
)
