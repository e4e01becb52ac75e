"""Networks that jaxseg itself has exported or trained, as a source of variables."""

import os
import pathlib
from typing import Any, cast

import flax.linen as nn
import numpy as np

from jaxseg.errors import InputError
from jaxseg.models.preprocessing import NORMALIZATIONS
from jaxseg.nn.layers import field_names
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.folder import MODEL_FILE, JaxsegFile, read_exported
from jaxseg.pretrained.tensor_file import TensorFile, read_tensors

# Fields that may differ: how a network is trained and computed, not what its parameters mean; and
# the stride, for a finer FCN starts from a coarser one (Long et al. 2015, section 4.2).
_FREE = {
    *("aux_weight", "bn_momentum", "decoder_init", "dropout", "dropout_mode", "dtype", "remat"),
    *("num_classes", "normalization", "stride"),
}


def read_weights(path: str | os.PathLike | TensorFile) -> TensorFile:
    """`read_tensors`, which takes as well the folder of an exported network, the workdir of a run
    (for its newest checkpoint), `WORKDIR/checkpoints/STEP`, and what was read of one already.

    Raises:
      InputError: as `read_tensors`, or the folder is none of these.
    """
    if isinstance(path, TensorFile):
        return path
    path = pathlib.Path(path)
    if not os.path.isdir(path):
        return read_tensors(path)
    if os.path.isfile(path / MODEL_FILE):
        return read_exported(path)
    from jaxseg.pretrained.run import is_run, read_run  # loads what reads checkpoints

    if is_run(path):
        return read_run(path)
    raise InputError(
        f"{path} is a folder with neither a network's {MODEL_FILE} nor a run's config.json.",
        "Give a file of weights, a folder that `python -m jaxseg convert` wrote, or a run's "
        "workdir.",
    )


def _fits(file: TensorFile) -> list[Fit]:
    file = cast(JaxsegFile, file)
    fields: dict[str, Any] = {
        field: getattr(file.model, field)
        for field in field_names(type(file.model))
        if field not in _FREE
    }
    expected = file.model.preprocessing
    normalization = next(n for n, known in NORMALIZATIONS.items() if known == expected)
    return [Fit(file.name, fields, normalization, file.model.num_classes)]


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
