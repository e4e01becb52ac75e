"""Semantic segmentation in JAX and Flax: FCN, DeconvNet and PSPNet as pure modules.

>>> import jax, jaxseg
>>> model = jaxseg.create_model("fcn8s_vgg16", num_classes=21, width=0.05, padding=1)
>>> images = jax.numpy.zeros([1, 48, 64, 3])
>>> variables = jax.jit(model.init)(jax.random.key(0), images)
>>> jax.jit(model.apply)(variables, images).shape
(1, 48, 64, 21)
"""

from jaxseg import losses, metrics, ops
from jaxseg.inference import predict
from jaxseg.inference.network import load_run
from jaxseg.models import create_model, features, list_models, normalize, transplant
from jaxseg.pretrained import load_pretrained
from jaxseg.training.step import create_state, make_eval_step, make_train_step

__version__ = "0.1.0"

__all__ = [
    "create_model",
    "create_state",
    "features",
    "list_models",
    "load_pretrained",
    "load_run",
    "losses",
    "make_eval_step",
    "make_train_step",
    "metrics",
    "normalize",
    "ops",
    "predict",
    "transplant",
]
