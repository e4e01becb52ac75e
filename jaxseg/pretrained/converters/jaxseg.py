"""Networks exported or trained by jaxseg, as a source of variables."""

from typing import Any, cast

import flax.linen as nn
import numpy as np

from jaxseg.models.base import IMAGE_FIELDS
from jaxseg.models.preprocessing import NORMALIZATIONS
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
    return [Fit(file.name, fields, normalization, file.model.num_classes, images)]


def _take(file: TensorFile, model: nn.Module, name: str) -> Take | Keep:
    if name not in file.tensors:
        return Keep("the other network has no such layer")
    return Take((name,), np.asarray)


JAXSEG = Source(
    name="jaxseg",
    title="one of jaxseg's own networks",
    recognises=lambda file: file.container == "jaxseg",
    fits=_fits,
    take=_take,
)
