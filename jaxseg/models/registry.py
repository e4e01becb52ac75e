"""Creates networks by name."""

import functools
import math
import types
import typing
from collections.abc import Iterable

import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxseg.errors import InputError, nearest
from jaxseg.models.base import IMAGE_FIELDS, SegmentationModel
from jaxseg.models.deconvnet import DeconvNet
from jaxseg.models.fcn import FCNVGG16
from jaxseg.models.fcn_alexnet import FCNAlexNet
from jaxseg.models.fcn_googlenet import FCNGoogLeNet
from jaxseg.models.fcn_resnet import FCNResNet
from jaxseg.models.pspnet import PSPNet
from jaxseg.nn.fields import field_names
from jaxseg.utils.image_kind import DTYPES

_MODELS: dict[str, functools.partial] = {
    "fcn32s_vgg16": functools.partial(FCNVGG16, stride=32),
    "fcn16s_vgg16": functools.partial(FCNVGG16, stride=16),
    "fcn8s_vgg16": functools.partial(FCNVGG16, stride=8),
    "fcn8s_atonce_vgg16": functools.partial(FCNVGG16, stride=8, at_once=True),
    "fcn32s_alexnet": functools.partial(FCNAlexNet),
    "fcn32s_googlenet": functools.partial(FCNGoogLeNet),
    "fcn_resnet18": functools.partial(FCNResNet, depth=18),
    "fcn_resnet34": functools.partial(FCNResNet, depth=34),
    "fcn_resnet50": functools.partial(FCNResNet, depth=50),
    "fcn_resnet101": functools.partial(FCNResNet, depth=101),
    "deconvnet_vgg16": functools.partial(DeconvNet),
    "pspnet_resnet18": functools.partial(PSPNet, depth=18),
    "pspnet_resnet34": functools.partial(PSPNet, depth=34),
    "pspnet_resnet50": functools.partial(PSPNet, depth=50),
    "pspnet_resnet101": functools.partial(PSPNet, depth=101),
    "pspnet_resnet152": functools.partial(PSPNet, depth=152),
    "pspnet_resnet269": functools.partial(PSPNet, depth=269),
}


def list_models() -> list[str]:
    """The names that `create_model` accepts.

    >>> "fcn8s_vgg16" in list_models()
    True
    """
    return list(_MODELS)


def create_model(name: str, /, num_classes: int, **fields: typing.Any) -> SegmentationModel:
    """Creates a network; `model.init(rng, images)` creates its parameters.

    Args:
      name: one of `list_models()`.
      num_classes: C, at least 2.
      **fields: fields of the network, such as `width`, `dtype` (a dtype or its name) or `norm`; the
        defaults are the published values. `name=` names the module, as in Flax.

    Returns:
      A `flax.linen.Module`. `model.apply(variables, images)` accepts images [N, H, W, 3] float32,
      RGB, normalised by `jaxseg.normalize(rgb, model.preprocessing)`, and returns logits [N, H, W,
      C] float32.

    Raises:
      InputError: an unknown name or field, fewer than two classes, or a dtype that is not floating
        point.

    >>> create_model("fcn8s_vgg16", num_classes=21, width=0.25).width
    0.25
    """
    check_fields(name, set(fields) - {"name"})
    whole = isinstance(num_classes, int | np.integer) and not isinstance(num_classes, bool)
    if not whole or num_classes < 2:
        raise InputError(
            f"num_classes is {num_classes!r}.",
            "Give a whole number of at least 2; background is a class.",
        )
    width = fields.get("width", 1.0)
    if not (isinstance(width, int | float | np.number) and 0 < width < math.inf):
        raise InputError(f"width is {width!r}.", "Give a number above 0; 1.0 is the paper's.")
    if fields.get("bits", 8) not in DTYPES or fields.get("channels", 1) < 1:
        raise InputError(
            f"channels is {fields.get('channels', 3)} and bits {fields.get('bits', 8)}.",
            "Give 1 or more channels with 8, 16 or 32 bits.",
        )
    if "dtype" in fields:
        fields["dtype"] = _float_type(fields["dtype"])
    return _MODELS[name](num_classes=num_classes, **fields)


def _float_type(dtype) -> np.dtype:
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise InputError(f"dtype is {dtype!r}.", "Give float32, bfloat16 or float16.")
    return found


@functools.cache
def network_fields() -> dict[str, tuple[type, ...]]:
    """The fields of all networks that a config's `model` may set, with the types of their values.

    The data set defines the number of classes and the kind of images.

    >>> network_fields()["padding"], network_fields()["remat"]
    ((<class 'int'>,), (<class 'bool'>, <class 'str'>))
    """
    found: dict[str, tuple[type, ...]] = {}
    for network in dict.fromkeys(make.func for make in _MODELS.values()):
        hints = typing.get_type_hints(network)
        for field in field_names(network):
            kinds = typing.get_args(hints[field]) if _is_union(hints[field]) else (hints[field],)
            kinds = tuple(typing.get_origin(k) or k for k in kinds if k is not types.NoneType)
            found[field] = (str,) if kinds == (typing.Any,) else kinds  # a dtype is given by name
    return {f: kinds for f, kinds in found.items() if f not in ("num_classes", *IMAGE_FIELDS)}


def _is_union(hint) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


def fields_of(name: str) -> list[str]:
    """The fields of the network `name`, one of `list_models()`.

    >>> "stride" in fields_of("fcn8s_vgg16"), "bins" in fields_of("fcn8s_vgg16")
    (True, False)
    """
    return field_names(_MODELS[name].func)


_TRAINED = (
    "create_model makes an untrained network; jaxseg.load(NAME) opens a trained one, and "
    "jaxseg.load_pretrained(model, FILE) reads weights for it."
)


def check_fields(name: str, fields: Iterable[str]) -> None:
    """Raises InputError if the network `name` does not exist, or lacks one of `fields`."""
    if name not in _MODELS:
        raise InputError(f"There is no model '{name}'.", nearest(str(name), _MODELS))
    known = fields_of(name)
    for field in fields:
        if field not in known:
            remedy = _TRAINED if field in ("pretrained", "weights") else nearest(field, known)
            raise InputError(f"'{name}' has no field '{field}'.", remedy)


def model_from_config(
    config: ml_collections.ConfigDict,
    num_classes: int,
    data: ml_collections.ConfigDict | None = None,
) -> SegmentationModel:
    """Creates the network of a run's `config.model`.

    Args:
      config: fields of `create_model`; a field that is None has its published value.
      num_classes: number of classes of the data set.
      data: the run's `config.data`, for the kind of its images; None: 8-bit RGB images.

    Raises:
      InputError: as `create_model`, or `config.num_classes` is not that of the data set.
    """
    fields = {k: v for k, v in config.items() if v is not None and k not in ("name", "num_classes")}
    if config.num_classes is not None and config.num_classes != num_classes:
        raise InputError(
            f"config.model.num_classes is {config.num_classes}, "
            f"but the data set has {num_classes} classes.",
            "Set it to None to use the number of the data set.",
        )
    if data is not None:
        fields |= {name: data[name] for name in IMAGE_FIELDS}
    return create_model(config.name, num_classes, **fields)
