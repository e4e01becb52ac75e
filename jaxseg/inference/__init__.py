"""A trained network on photographs."""

from jaxseg.inference.protocols import protocol
from jaxseg.inference.whole_image import predict

__all__ = ["predict", "protocol"]
