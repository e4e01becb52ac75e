"""Networks exported or trained by jaxseg, as a source of variables."""

import re
from typing import Any, cast

import flax.linen as nn
import numpy as np

from jaxseg.models.base import IMAGE_FIELDS, SegmentationModel
from jaxseg.models.deconvnet import DeconvNet
from jaxseg.models.fcn import FCNVGG16
from jaxseg.models.preprocessing import NORMALIZATIONS
from jaxseg.nn.convolution import ConvBlock
from jaxseg.nn.fields import field_names
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.folder import JaxsegFile, changed_fields
from jaxseg.pretrained.tensor_file import TensorFile

# Fields that may differ, because they do not change the meaning of the parameters; and the stride,
# because a finer FCN starts from a coarser one (Long et al. 2015, section 4.2).
_FREE = {
    *("aux_weight", "bn_momentum", "decoder_init", "dropout", "dropout_mode", "dtype", "remat"),
    *("num_classes", "normalization", "stride", *IMAGE_FIELDS),
}
_VGG16_LAYER = re.compile(r"\w+/conv[1-5]_[1-3]/")
_OTHER_LAYERS = "the two networks share only the convolutions of VGG16"


def _fits(file: TensorFile) -> list[Fit]:
    file = cast(JaxsegFile, file)
    fields: dict[str, Any] = {
        field: getattr(file.model, field)
        for field in field_names(type(file.model))
        if field not in _FREE
    }
    expected = file.model.of_photographs
    normalization = next(n for n, known in NORMALIZATIONS.items() if known == expected)
    changed = changed_fields(file.name, file.model)
    images = {field: changed[field] for field in IMAGE_FIELDS if field in changed}
    own = Fit(file.name, fields, normalization, file.model.num_classes, images)
    return [own, *(Fit(*other, normalization, None, images) for other in _same_vgg16(file.model))]


def _same_vgg16(model: SegmentationModel) -> list[tuple[str, dict[str, Any]]]:
    """The other kind of network on the same VGG16, with batch norm, and its required fields.

    FCN has the default epsilon of batch norm. Noh et al. (section 4.2) start DeconvNet's
    convolutions from a trained VGG16; FCN is one.
    """
    match model:
        case FCNVGG16(norm="batch"):
            return [("deconvnet_vgg16", {"width": model.width, "bn_epsilon": ConvBlock.bn_epsilon})]
        case DeconvNet(bn_epsilon=ConvBlock.bn_epsilon):
            return [("fcn8s_vgg16", {"width": model.width, "norm": "batch"})]
    return []


def _take(file: TensorFile, model: nn.Module, name: str) -> Take | Keep:
    if _is_another(file, model) and not _VGG16_LAYER.match(name):
        return Keep(_OTHER_LAYERS)
    if name not in file.tensors:
        return Keep("the other network has no such layer")
    return Take((name,), np.asarray)


def _unused(file: TensorFile, model: nn.Module, name: str) -> str | None:
    return _OTHER_LAYERS if _is_another(file, model) else None


def _is_another(file: TensorFile, model: nn.Module) -> bool:
    """Whether the file's network is of another kind: DeconvNet's for an FCN, or the reverse."""
    return type(model) is not type(cast(JaxsegFile, file).model)


JAXSEG = Source(
    name="jaxseg",
    title="one of jaxseg's own networks",
    recognises=lambda file: file.container == "jaxseg",
    fits=_fits,
    take=_take,
    unused=_unused,
)
