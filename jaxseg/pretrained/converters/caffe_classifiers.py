"""ImageNet classifiers in Caffe as fully convolutional networks: VGG16, CaffeNet and GoogLeNet.

An inner product over a map of k×k cells is a convolution with a window of k×k (Long et al. 2015,
section 3.1). If the network has as many classes as the classifier, its logits layer is that of the
classifier.
"""

import functools
from collections.abc import Mapping

import flax.linen as nn

from jaxseg.errors import InputError
from jaxseg.pretrained import convert
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.tensor_file import TensorFile

_NEW = ("score", "upscore", "deconv", "fc6_deconv")  # prefixes of layers that no classifier has
_FC8 = {"score_fr": "fc8"}
_GOOGLENET = {  # layers with other names in the file; inceptions have the same names
    "conv1": "conv1/7x7_s2",
    "conv2_reduce": "conv2/3x3_reduce",
    "conv2": "conv2/3x3",
    "score_fr": "loss3/classifier",
}


def _take(
    file: TensorFile, model: nn.Module, name: str, *, names: Mapping[str, str], window: int
) -> Take | Keep:
    """`names`: layers with other names in the file. `window`: rows and columns of fc6's window."""
    _, *layers, leaf = name.split("/")
    layer = "/".join(layers)
    if layers[-1] == "bn":
        return Keep("the classifier has no batch norm")
    if layer.startswith(_NEW) and layer != "score_fr":
        return Keep("the classifier has no such layer")
    theirs = names.get(layer, layer)
    kernel, bias = f"{theirs}/0", f"{theirs}/1"
    if layer == "score_fr" and (
        bias not in file.tensors or file.tensors[bias].size != model.num_classes
    ):
        return Keep("the classifier has other classes")
    if leaf == "bias":
        return Take((bias,), convert.vector)
    if layer in ("conv1_1", "conv1"):
        return Take((kernel,), convert.conv_from_bgr)
    if layer in ("fc6", "fc7", "score_fr"):
        return Take((kernel,), convert.linear(window if layer == "fc6" else 1))
    return Take((kernel,), convert.conv)


def _unused(file: TensorFile, model: nn.Module, name: str) -> str | None:
    if name.startswith(("loss1/", "loss2/")):
        return "auxiliary classifiers, for training only"
    if name.startswith(("fc8", "loss3/")):
        return "the logits layer of the ImageNet classes"
    if name.startswith(("fc6/", "fc7/")):
        return "the network has no such layer"
    return None


def _recognises(file: TensorFile, *, names: tuple[str, ...]) -> bool:
    """Whether a file has these layers, and no logits layer of a segmentation."""
    return (
        file.container == "caffe"
        and {f"{name}/0" for name in names} <= set(file.tensors)
        and not any(name.startswith(("score", "upscore", "seg-score")) for name in file.tensors)
    )


def _fits(file: TensorFile, *, names: tuple[str, ...]) -> list[Fit]:
    return [Fit(name, {}, "caffe_vgg") for name in names]


def _check_order(file: TensorFile, model: nn.Module) -> None:
    """Raises InputError for BVLC's AlexNet, which normalises before pooling, unlike CaffeNet."""
    layers = list(file.layer_types)
    if {"norm1", "pool1"} <= set(layers) and layers.index("norm1") < layers.index("pool1"):
        raise InputError(
            f"{file.path} normalises before pooling, like BVLC's AlexNet, but the network pools "
            "first, like CaffeNet.",
            "Use bvlc_reference_caffenet.caffemodel, or load these weights anyway with "
            "head='reset'.",
        )


CAFFE_VGG16 = Source(
    name="caffe_vgg16",
    title="an ImageNet VGG16 in Caffe",
    recognises=functools.partial(_recognises, names=("conv1_1", "conv5_3", "fc6", "fc7")),
    fits=functools.partial(
        _fits,
        names=(
            "fcn8s_vgg16",
            "fcn8s_atonce_vgg16",
            "fcn16s_vgg16",
            "fcn32s_vgg16",
            "deconvnet_vgg16",
        ),
    ),
    take=functools.partial(_take, names=_FC8, window=7),
    unused=_unused,
)

CAFFE_CAFFENET = Source(
    name="caffe_caffenet",
    title="an ImageNet CaffeNet in Caffe",
    recognises=functools.partial(_recognises, names=("conv1", "conv5", "fc6", "fc7")),
    fits=functools.partial(_fits, names=("fcn32s_alexnet",)),
    take=functools.partial(_take, names=_FC8, window=6),
    unused=_unused,
    check=_check_order,
)

CAFFE_GOOGLENET = Source(
    name="caffe_googlenet",
    title="an ImageNet GoogLeNet in Caffe",
    recognises=functools.partial(_recognises, names=("conv1/7x7_s2", "inception_5b/1x1")),
    fits=functools.partial(_fits, names=("fcn32s_googlenet",)),
    take=functools.partial(_take, names=_GOOGLENET, window=1),
    unused=_unused,
)
