"""Exports a trained network as a program that runs without jaxseg: images in, classes out."""

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from jaxseg.errors import InputError, nearest
from jaxseg.inference.network import Network
from jaxseg.models import normalize
from jaxseg.ops import implementation
from jaxseg.ops.byte_labels import byte_labels
from jaxseg.utils.access import reason
from jaxseg.utils.atomic import atomic_file
from jaxseg.utils.paths import given_path

FORMATS = ("stablehlo", "onnx")
OUTPUTS = ("logits", "labels")
PLATFORMS = ("cpu", "cuda", "tpu")
_OTHERS = (".pt", ".pth", ".safetensors", ".caffemodel", ".tflite", ".pb", ".h5", ".npz")
_SUFFIXES = {".onnx": "onnx", ".stablehlo": "stablehlo"}  # other suffixes suit any format
_MULTIPLE = 32  # symbolic sizes are multiples of it, so that no size of a map is rounded


def export_program(
    network: Network,
    path: str | os.PathLike,
    *,
    format: str = "stablehlo",
    output: str = "logits",
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Writes a network, its variables and its preprocessing as one program, with a description.

    The program takes uint8 RGB images [N, H, W, 3], for any N (ONNX: 1), or images with the dtype
    and channels that the network was trained on. It returns `logits`, float32 [N, H, W, C], or
    `labels`, uint8 [N, H, W]. Without `size`, H and W may be any multiples of 32 from 64 that the
    network supports. The program applies the network to whole images. Other parts of the run's
    evaluation (resize, windows) are left to the caller, and listed in the description.

    - "stablehlo": the serialisation of `jax.export`, for CPU, CUDA and TPU in one file. It runs
      with JAX only, by `jax.export.deserialize(bytearray(data)).call(images)`.
    - "onnx": by the converter jax2onnx, in its own environment; `size` is required.

    The description is `PATH.json`: the network, inputs and outputs, names and colours of the
    classes, the run's `config.eval`, and the SHA-256 of the program.

    Returns:
      The contents of the description.

    Raises:
      InputError: an unknown format or output, the suffix of the other format, a size that the
        network does not support, a file that already exists or cannot be written, or a converter
        that is missing or fails.
    """
    for value, known in ((format, FORMATS), (output, OUTPUTS)):
        if value not in known:
            raise InputError(f"export does not support {value!r}.", nearest(value, known))
    path = given_path(path)
    if (path.suffix.lower() == ".onnx") != (format == "onnx") and path.suffix.lower() in _SUFFIXES:
        raise InputError(
            f"{path} would contain a program in the format {format}.",
            f"Choose the format {_SUFFIXES[path.suffix.lower()]} (--format), or another name.",
        )
    if path.suffix.lower() in _OTHERS:
        raise InputError(
            f"{path} would contain a program in the format {format}, not a {path.suffix} file.",
            f"Give --out {path.stem}.stablehlo or {path.stem}.onnx.",
        )
    text = path.with_name(path.name + ".json")
    for file in (path, text):
        if os.path.lexists(file):
            raise InputError(f"{file} already exists.", "Choose another --out.")
    if format == "onnx" and size is None:
        raise InputError("ONNX programs need a fixed image size.", "Add --size HEIGHT,WIDTH.")
    check_size(network, size)
    data = (_stablehlo if format == "stablehlo" else _onnx)(network, output, size)
    about = _about(network, format, output, size)
    about["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, content in ((path, data), (text, (json.dumps(about, indent=1) + "\n").encode())):
            with atomic_file(file) as stream:
                stream.write(content)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {reason(error)}.",
            "Give an --out that you can write to, on a disk with free space.",
        ) from None
    return about


def program(network: Network, output: str) -> Callable[[jax.Array], jax.Array]:
    """The exported function: images [N, H, W, channels] to logits or labels."""

    def run(photographs):
        images = normalize(photographs, network.model.preprocessing)
        logits = network.model.apply(network.variables, images)
        return logits if output == "logits" else byte_labels(logits)

    return run


def check_size(network: Network, size: tuple[int, int] | None) -> None:
    """Raises InputError if the network does not support images of that size."""
    if size is not None:
        photographs = _images(network, (1, *size))
        jax.eval_shape(program(network, "logits"), photographs)


def _images(network: Network, size: tuple) -> jax.ShapeDtypeStruct:
    """The input of a network; `size` is (N, H, W), which may be symbolic."""
    expected = network.model.preprocessing
    return jax.ShapeDtypeStruct((*size, expected.channels), jnp.dtype(expected.dtype))


def _stablehlo(network: Network, output: str, size: tuple[int, int] | None) -> bytes:
    if size is None:
        # The smallest map for H = 32 * h + more has h rows, so that no size is a difference, whose
        # sign JAX could not determine.
        more = _MULTIPLE * _more(network)
        shape = jax_export.symbolic_shape(f"n, {_MULTIPLE}*h + {more}, {_MULTIPLE}*w + {more}")
    else:
        shape = jax_export.symbolic_shape(f"n, {size[0]}, {size[1]}")
    exported = jax_export.export(jax.jit(program(network, output)), platforms=PLATFORMS)(
        _images(network, shape)
    )
    return bytes(exported.serialize())


def _more(network: Network) -> int:
    """How many times 32 pixels an image must exceed 32 pixels."""
    return max(1, getattr(network.model, "fc_kernel", 1) - 1)


def _onnx(network: Network, output: str, size: tuple[int, int] | None) -> bytes:
    try:
        import jax2onnx
        import onnxruntime
    except ImportError:
        raise InputError(
            "The converter to ONNX is not installed.",
            "Install jax2onnx and onnxruntime in a separate environment, because they need other "
            "versions of jaxseg's dependencies; see docs/guides/export.md.",
        ) from None
    photograph = _images(network, (1, *(size or ())))
    try:
        # onnxruntime does not support jax2onnx's pooling over windows of four axes
        with implementation("reference", max_pool="cpu"):
            model = jax2onnx.to_onnx(program(network, output), [photograph], model_name="jaxseg")
        data = model.SerializeToString()
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])  # may reject it
    except Exception as error:  # for anything unsupported; the types are not documented
        what = f"{error}".partition("\n")[0] or type(error).__name__
        raise InputError(
            f"jax2onnx cannot convert this {type(network.model).__name__}: {what}.",
            "Export it as stablehlo; docs/guides/export.md lists the networks that can be "
            "converted.",
        ) from error
    return data


def _about(network: Network, format: str, output: str, size: tuple[int, int] | None) -> dict:
    more, expected = _MULTIPLE * _more(network), network.model.preprocessing
    height, width = size or (f"{_MULTIPLE}*h + {more}", f"{_MULTIPLE}*w + {more}")
    count = "n" if format == "stablehlo" else 1
    dtype, scores = ("float32", [network.info.num_classes]) if output == "logits" else ("uint8", [])
    about = {
        "format": format,
        **network.origin,
        "input": {
            "dtype": expected.dtype,
            "shape": [count, height, width, expected.channels],
            "channels": expected.described()["channels"],
        },
        "output": {"what": output, "dtype": dtype, "shape": [count, height, width, *scores]},
        "class_names": list(network.info.class_names),
        "palette": [list(colour) for colour in network.info.palette],
        "evaluated_as": network.eval.to_dict(),
    }
    return json.loads(json.dumps(about))  # equal to the contents of the file
