"""Applies trained networks to images."""

from jaxseg.inference.crf.dense_crf import CRF, CRFS, mean_field
from jaxseg.inference.ensemble import Ensemble, WithCRF
from jaxseg.inference.instances import InstanceWise
from jaxseg.inference.protocols import protocol
from jaxseg.inference.whole_image import predict

__all__ = [
    "CRF",
    "CRFS",
    "Ensemble",
    "InstanceWise",
    "WithCRF",
    "mean_field",
    "predict",
    "protocol",
]
