"""The DeconvNets released in Caffe (github.com/HyeonwooNoh/DeconvNet)."""

import functools

import flax.linen as nn
import numpy as np

from jaxseg.pretrained import convert
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.tensor_file import TensorFile

_LAYERS = {"fc6_deconv": "fc6-deconv", "score": "seg-score-voc"}  # other layers have equal names
_SOFTMAX_LOSS = ("SoftmaxWithLoss", 21)
_LICENCE = "its authors permit research use only"


def _norm_layer(layer: str) -> str:
    """The name of the batch norm after a layer: bn1_1, bnfc6, fc6-deconv-bn, debn5_1."""
    if layer == "fc6_deconv":
        return "fc6-deconv-bn"
    for start, norm in (("deconv", "debn"), ("conv", "bn")):
        if layer.startswith(start):
            return norm + layer.removeprefix(start)
    return f"bn{layer}"


def _take(file: TensorFile, model: nn.Module, name: str, *, folded: bool) -> Take | Keep:
    _, layer, *rest = name.split("/")
    if rest[0] == "bn":
        scale, shift = (f"{_norm_layer(layer)}/{blob}" for blob in (0, 1))
        if rest[1] in ("scale", "bias"):
            return Take((scale if rest[1] == "scale" else shift,), convert.vector)
        if not folded:
            return Keep("the file has no batch statistics")
        value = 0.0 if rest[1] == "mean" else 1 - model.bn_epsilon
        return Take((scale,), lambda scale: np.full(scale.size, value, np.float32))
    blob = f"{_LAYERS.get(layer, layer)}/{('kernel', 'bias').index(rest[0])}"
    if rest[0] == "bias":
        return Take((blob,), convert.vector)
    if layer == "conv1_1":
        return Take((blob,), convert.conv_from_bgr)
    return Take((blob,), convert.deconv if "deconv" in layer else convert.conv)


def _recognises(file: TensorFile, *, trained: bool) -> bool:
    """Files for inference and from training have the same blobs, but only the latter a loss."""
    has_loss = any(kind in _SOFTMAX_LOSS for kind in file.layer_types.values())
    names = {"fc6-deconv/0", "seg-score-voc/0"}
    return file.container == "caffe" and names <= set(file.tensors) and has_loss == trained


def _fits(file: TensorFile) -> list[Fit]:
    return [
        Fit("deconvnet_vgg16", {}, "caffe_vgg", convert.outputs(file.tensors["seg-score-voc/0"]))
    ]


CAFFE_DECONVNET = Source(
    name="caffe_deconvnet",
    title="a DeconvNet in Caffe, for inference",
    recognises=functools.partial(_recognises, trained=False),
    fits=_fits,
    take=functools.partial(_take, folded=True),
    notes=("Its batch norm is a fixed scale and shift: mean 0, variance 1.",),
    licence=_LICENCE,
)

CAFFE_DECONVNET_TRAINING = Source(
    name="caffe_deconvnet-training",
    title="a DeconvNet in Caffe, from training",
    recognises=functools.partial(_recognises, trained=True),
    fits=_fits,
    take=functools.partial(_take, folded=False),
    notes=(
        "Its authors normalise by the statistics of the current batch, also in evaluation. With "
        "train=True the network does the same. Without it, the network needs statistics that are "
        "not in the file: first pass batches of training images through it with train=True (the "
        "authors average over 501 batches of 28 images), and keep the returned batch_stats.",
    ),
    licence=_LICENCE,
)
