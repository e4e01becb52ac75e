"""Checks the fixed deconvolutions of released FCNs, which jaxseg's networks have built in."""

import flax.linen as nn
import numpy as np

from jaxseg.errors import InputError
from jaxseg.ops.upsampling import bilinear_deconv
from jaxseg.pretrained.tensor_file import TensorFile

_TWICE = ("upscore2", "upscore_pool4")  # learned in some networks
LAST = {32: "upscore", 16: "upscore16", 8: "upscore8"}  # by stride: the final upsampling


def fixed_layers(model: nn.Module) -> tuple[str, ...]:
    """The layers of an FCN whose kernels are fixed in `model`."""
    learned = getattr(model, "upsampling", "fixed") == "learned"
    return (*LAST.values(), *(() if learned else _TWICE))


def check_fixed(file: TensorFile, model: nn.Module, tensors: dict[str, str]) -> None:
    """Raises InputError if a kernel in a file differs from the fixed kernel in `model`.

    `tensors` maps each layer to the name of its kernel in the file, which may be absent.
    """
    for layer in fixed_layers(model):
        weight = file.tensors.get(tensors.get(layer, ""))
        if weight is not None and not is_bilinear(weight):
            raise InputError(
                f"{file.path} upsamples with '{tensors[layer]}', which is not the fixed bilinear "
                "kernel of the network.",
                "Create the network with upsampling='learned'."
                if layer in _TWICE
                else "Load it with head='reset' to train new logits.",
            )


def is_bilinear(weight: np.ndarray) -> bool:
    """Whether a dense deconvolution [C, C, k, k] interpolates each channel separately."""
    if weight.ndim != 4 or weight.shape[0] != weight.shape[1] or weight.shape[2] != weight.shape[3]:
        return False
    k = weight.shape[-1]
    rows, columns = bilinear_deconv((1, 1), (k, k), stride=(k + 1) // 2, kernel=k).matrices()
    for c, outputs in enumerate(weight):
        want = np.zeros_like(outputs)
        want[c] = rows @ columns.T
        if not np.allclose(outputs, want, rtol=0, atol=1e-5):
            return False
    return True
