"""wkentaro/pytorch-fcn's FCNs: released ones, copied from Caffe, and retrained ones."""

import flax.linen as nn

from jaxseg.pretrained import convert
from jaxseg.pretrained.converters.bilinear import LAST, check_fixed, fixed_layers
from jaxseg.pretrained.converters.pytorch_layers import is_torch, take_from
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.tensor_file import TensorFile


def _fits(file: TensorFile) -> list[Fit]:
    classes = convert.outputs(file.tensors["score_fr.weight"])
    stride = next((s for s in LAST if f"{LAST[s]}.weight" in file.tensors), 8)

    def fit(at_once: bool) -> Fit:
        name = f"fcn{stride}s{'_atonce' if at_once else ''}_vgg16"
        fields = {"stride": stride, "at_once": at_once, "upscore2_bias": False, "padding": 100}
        return Fit(name, fields | {"norm": None}, "caffe_vgg", classes)

    return [fit(False), fit(True)] if stride == 8 else [fit(False)]


def _take(file: TensorFile, model: nn.Module, name: str) -> Take | Keep:
    layer = name.split("/")[1]
    kernel = convert.deconv if layer.startswith("upscore") else convert.conv
    if layer == "conv1_1":
        kernel = convert.conv_from_bgr
    return take_from(lambda file, layer: (layer[0], ""), kernel)(file, model, name)


def _unused(file: TensorFile, model: nn.Module, name: str) -> str | None:
    if name.split(".")[0] in fixed_layers(model):
        return "fixed bilinear upsampling, built into the network"
    return None


def _check(file: TensorFile, model: nn.Module) -> None:
    check_fixed(file, model, {layer: f"{layer}.weight" for layer in fixed_layers(model)})


PYTORCH_FCN = Source(
    name="pytorch-fcn_fcn",
    title="pytorch-fcn's FCN",
    recognises=lambda file: (
        is_torch(file)
        and {"conv1_1.weight", "fc6.weight", "score_fr.weight"} <= set(file.tensors)
        and any(f"{layer}.weight" in file.tensors for layer in ("upscore", "upscore2"))
    ),
    fits=_fits,
    take=_take,
    unused=_unused,
    check=_check,
    notes=(
        "FCN-8s and FCN-8s at-once have the same tensor names: use the network that the file was "
        "trained for.",
    ),
)
