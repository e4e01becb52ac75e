"""The networks, each in a file that follows its paper; `registry` creates them by name."""

from jaxseg.models.base import SegmentationModel
from jaxseg.models.features import features
from jaxseg.models.preprocessing import Preprocessing, normalize
from jaxseg.models.registry import create_model, list_models, model_from_config
from jaxseg.models.transplant import transplant
from jaxseg.nn.heads import Head

__all__ = [
    "Head",
    "Preprocessing",
    "SegmentationModel",
    "create_model",
    "features",
    "list_models",
    "model_from_config",
    "normalize",
    "transplant",
]
