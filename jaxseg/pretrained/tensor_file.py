"""A file of weights, whatever wrote it: names and arrays."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from jaxseg.errors import InputError
from jaxseg.pretrained.caffe_file import read_caffe
from jaxseg.pretrained.safetensors_file import read_safetensors
from jaxseg.pretrained.stored import StoredArrays


@dataclasses.dataclass(frozen=True)
class TensorFile:
    """What `read_tensors` found in a file.

    Attributes:
      path: of the file.
      container: "caffe", "torch", "safetensors" or "jaxseg".
      tensors: the arrays by name, in the file's order; read-only views of the file in its own
        dtype (float16, bfloat16, float32, float64, integers, bool), each opened when it is looked
        up. Caffe's are named "LAYER/BLOB" ("conv1_1/0", "conv5_4/bn/3") and have the file's shape,
        which in old files is 4-D for a bias, too: (1, 1, 1, N). PyTorch's have the names of the
        state dict, without a "module." that they all begin with.
      layer_types: Caffe only: the type of every layer that has blobs, as the file has it: a word
        ("Convolution") or, in files of the V1 format, a number (4).
      notes: what was unwrapped, stripped or passed over on the way, one sentence each.
    """

    path: pathlib.Path
    container: str
    tensors: Mapping[str, np.ndarray]
    layer_types: Mapping[str, str | int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_tensors(path: str | pathlib.Path) -> TensorFile:
    """Opens a file of weights: its names and shapes; the arrays are read as they are used.

    What wrote the file is told from its first bytes, not from its name. Nothing that the file holds
    is executed.

    Args:
      path: a `.caffemodel`, a PyTorch `.pth`/`.pt` or a `.safetensors` file.

    Raises:
      InputError: there is no such file, it is none of these, or it is damaged.
    """
    path = pathlib.Path(path)
    with path.open("rb") as file:
        start = file.read(16)
    if start[8:9] == b"{":
        return TensorFile(path, "safetensors", StoredArrays(path, read_safetensors(path)))
    places, types = read_caffe(path)
    return TensorFile(path, "caffe", StoredArrays(path, places), types)
