"""The FCNs on VGG16 and AlexNet in Caffe (github.com/shelhamer/fcn.berkeleyvision.org)."""

import flax.linen as nn
import numpy as np

from jaxseg.errors import InputError
from jaxseg.pretrained import convert
from jaxseg.pretrained.converters.bilinear import LAST, check_fixed, fixed_layers
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.tensor_file import TensorFile

_SCALES = {"scale_pool4": 0.01, "scale_pool3": 0.0001}  # in the at-once network

# The names of the same layers in the CVPR paper's network, which was released earlier.
_CVPR = {
    "score_fr": "score-fr",
    "score_pool4": "score-pool4",
    "score_pool3": "score-pool3",
    "upscore2": "score2",
    "upscore_pool4": "score4",
    "upscore8": "upsample",
}


def _fits(file: TensorFile) -> list[Fit]:
    classes = convert.outputs(file.tensors["score_fr/0"])
    if "conv1/0" in file.tensors:
        fields = {"padding": 100, "norm": None}
        return [Fit("fcn32s_alexnet", fields, "caffe_vgg", classes)]
    stride = next((s for s in LAST if f"{LAST[s]}/0" in file.tensors), 8)
    at_once = "scale_pool4/0" in file.tensors
    name = f"fcn{stride}s{'_atonce' if at_once else ''}_vgg16"
    fields = {"stride": stride, "at_once": at_once, "upscore2_bias": False, "padding": 100}
    return [Fit(name, fields | {"norm": None}, "caffe_vgg", classes)]


def _fits_cvpr(file: TensorFile) -> list[Fit]:
    fields = {"stride": 8, "at_once": False, "upsampling": "learned", "upscore2_bias": True}
    fields |= {"padding": 100, "norm": None}
    return [Fit("fcn8s_vgg16", fields, "caffe_vgg", convert.outputs(file.tensors["score-fr/0"]))]


def _take(file: TensorFile, model: nn.Module, name: str) -> Take | Keep:
    _, layer, leaf = name.split("/")
    names = _CVPR if "score-fr/0" in file.tensors else {}
    blob = f"{names.get(layer, layer)}/{('kernel', 'bias').index(leaf)}"
    if leaf == "bias":
        return Take((blob,), convert.vector)
    if layer in ("conv1_1", "conv1"):
        return Take((blob,), convert.conv_from_bgr)
    return Take((blob,), convert.deconv if layer.startswith("upscore") else convert.conv)


def _unused(file: TensorFile, model: nn.Module, name: str) -> str | None:
    layer = name.split("/")[0]
    if layer in _SCALES:
        return "constant scales of the pooled maps, built into the network"
    if layer in (*fixed_layers(model), "upsample"):
        return "fixed bilinear upsampling, built into the network"
    return None


def _check(file: TensorFile, model: nn.Module) -> None:
    for layer, scale in _SCALES.items():
        values = file.tensors.get(f"{layer}/0", np.float32(scale))
        if not np.allclose(values, scale, rtol=1e-3, atol=0):
            raise InputError(
                f"{file.path} scales a pooled map with '{layer}/0', which is not {scale} "
                "everywhere.",
                "Load it with head='reset' to train new logits for the pooled maps.",
            )
    names = _CVPR if "score-fr/0" in file.tensors else {}
    check_fixed(
        file, model, {layer: f"{names.get(layer, layer)}/0" for layer in fixed_layers(model)}
    )


CAFFE_FCN = Source(
    name="caffe_fcn",
    title="an FCN in Caffe",
    recognises=lambda file: (
        file.container == "caffe"
        and "score_fr/0" in file.tensors
        and any(f"{layer}/0" in file.tensors for layer in ("upscore", "upscore2"))
    ),
    fits=_fits,
    take=_take,
    unused=_unused,
    check=_check,
)

CAFFE_FCN_CVPR = Source(
    name="caffe_fcn-cvpr",
    title="the CVPR paper's FCN-8s in Caffe",
    recognises=lambda file: (
        file.container == "caffe" and {"score-fr/0", "upsample/0"} <= set(file.tensors)
    ),
    fits=_fits_cvpr,
    take=_take,
    unused=_unused,
    check=_check,
)
