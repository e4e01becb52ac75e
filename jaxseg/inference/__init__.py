"""A trained network on photographs."""

from jaxseg.inference.whole_image import predict

__all__ = ["predict"]
