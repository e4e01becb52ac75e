"""Semantic segmentation in JAX and Flax: FCN, DeconvNet and PSPNet as pure modules.

>>> import jax, jaxseg
>>> model = jaxseg.create_model("fcn8s_vgg16", num_classes=21, width=0.05, padding=1)
>>> images = jax.numpy.zeros([1, 48, 64, 3])
>>> variables = jax.jit(model.init)(jax.random.key(0), images)
>>> jax.jit(model.apply)(variables, images).shape
(1, 48, 64, 21)
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxseg import losses, metrics, ops, pretrained
    from jaxseg.inference.load import load
    from jaxseg.inference.whole_image import predict
    from jaxseg.models import create_model, features, list_models, normalize, transplant
    from jaxseg.pretrained import load_pretrained
    from jaxseg.pretrained.trained import load_run
    from jaxseg.pretrained.zoo.rows import list_pretrained
    from jaxseg.training.step import create_state, make_eval_step, make_train_step

__version__ = "0.1.0"

__all__ = [
    "create_model",
    "create_state",
    "features",
    "list_models",
    "list_pretrained",
    "load",
    "load_pretrained",
    "load_run",
    "losses",
    "make_eval_step",
    "make_train_step",
    "metrics",
    "normalize",
    "ops",
    "predict",
    "pretrained",
    "transplant",
]

# The module of each name, imported on first access: `python -m jaxseg --help` and commands that
# need no network do not have to import JAX.
_MODULES = {
    "create_model": "models",
    "create_state": "training.step",
    "features": "models",
    "list_models": "models",
    "list_pretrained": "pretrained.zoo.rows",
    "load": "inference.load",
    "load_pretrained": "pretrained",
    "load_run": "pretrained.trained",
    "make_eval_step": "training.step",
    "make_train_step": "training.step",
    "normalize": "models",
    "predict": "inference.whole_image",
    "transplant": "models",
}


if not TYPE_CHECKING:  # with `__getattr__`, a type checker would accept any name

    def __getattr__(name: str):
        if name in _MODULES:
            value = getattr(importlib.import_module(f"jaxseg.{_MODULES[name]}"), name)
            globals()[name] = value
            return value
        if not name.startswith("_") and importlib.util.find_spec(f"jaxseg.{name}"):
            return importlib.import_module(f"jaxseg.{name}")  # a subpackage
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
