"""mmsegmentation's PSPNets and FCNs on ResNet and ResNet-v1c (open-mmlab/mmsegmentation)."""

import functools
import re
from typing import Any

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
# The parts of each decode head. A file must have exactly these; many other heads have more.
_PSP = {"psp_modules", "bottleneck", "conv_seg"}
_FCNS = ({"convs", "conv_cat", "conv_seg"}, {"convs", "conv_seg"})


def _parts(file: TensorFile) -> set[str]:
    """The parts of the decode head."""
    names = (name.split(".") for name in file.tensors if name.startswith("decode_head."))
    return {name[1] for name in names}


def _recognises(file: TensorFile, *, heads: tuple[set[str], ...]) -> bool:
    return (
        is_torch(file)
        and "backbone.layer1.0.conv2.weight" in file.tensors
        and _parts(file) in heads
    )


def _fits(file: TensorFile, *, align_corners: bool, d6: bool, d32: bool) -> list[Fit]:
    depth = torch_depth(file, "backbone.")
    fields: dict[str, Any] = {
        "depth": depth,
        "stem": "v1c" if "backbone.stem.0.weight" in file.tensors else "7x7",
        "stride_on": "3x3",
        "output_stride": 16 if d6 else 8,
        "align_corners": align_corners,
    }
    classes = convert.outputs(file.tensors["decode_head.conv_seg.weight"])
    parts = _parts(file)
    if parts == _PSP:
        fields |= {"dilate_first": False, "bins": _BINS, "pooling": "avg", "reduce": True}
        fields["dilations"] = (1, 1, 2, 4) if d32 else None
        name = resnet_name("pspnet_resnet", depth, (18, 34, 50, 101, 152))
    else:
        convs = [re.fullmatch(r"decode_head\.convs\.\d+\.conv\.weight", n) for n in file.tensors]
        fields |= {"head_convs": sum(map(bool, convs)), "concat_input": "conv_cat" in parts}
        fields["head_dilation"] = 6 if d6 else 1
        name = resnet_name("fcn_resnet", depth, (18, 34, 50, 101))
    return [Fit(name, fields, "imagenet", classes)]


def _place(file: TensorFile, layer: Layer) -> tuple[str, str] | Keep:
    part, *rest = layer
    if part == "backbone" and len(rest) == 2:
        conv, norm = block(tuple(rest))
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


def _source(name: str, what: str, note: str, *, align_corners=False, d6=False, d32=False) -> Source:
    heads = _FCNS if d6 else (_PSP,) if d32 else (_PSP, *_FCNS)
    return Source(
        name=name,
        title=f"mmsegmentation's {what}",
        recognises=functools.partial(_recognises, heads=heads),
        fits=functools.partial(_fits, align_corners=align_corners, d6=d6, d32=d32),
        take=take_from(_place),
        unused=unused,
        notes=(note,),
    )


_ASKED_FOR = "The file does not record this; it was selected by name."

MMSEG = _source(
    "mmseg",
    "PSPNet or FCN",
    "The file does not record whether it was trained on crops of 769×769 (then load it with "
    "source='mmseg_769x769'), or is an FCN-D6 (source='mmseg_d6', or 'mmseg_d6-769x769' for "
    "crops of 769×769) or a PSPNet-D32 (source='mmseg_d32').",
)
MMSEG_769 = _source(
    "mmseg_769x769",
    "PSPNet or FCN for crops of 769×769",
    _ASKED_FOR,
    align_corners=True,
)
MMSEG_D32 = _source("mmseg_d32", "PSPNet-D32", _ASKED_FOR, d32=True)
MMSEG_D6 = _source("mmseg_d6", "FCN-D6", _ASKED_FOR, d6=True)
MMSEG_D6_769 = _source(
    "mmseg_d6-769x769", "FCN-D6 for crops of 769×769", _ASKED_FOR, align_corners=True, d6=True
)
