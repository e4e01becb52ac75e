"""Pure array functions that the networks are made of; jax only, usable from anyone's code."""

from jaxseg.ops.pooling import max_pool, max_pool_with_argmax
from jaxseg.ops.upsampling import (
    Upsampling,
    align_corners,
    bilinear_deconv,
    half_pixel,
    resize_bilinear,
)

__all__ = [
    "Upsampling",
    "align_corners",
    "bilinear_deconv",
    "half_pixel",
    "max_pool",
    "max_pool_with_argmax",
    "resize_bilinear",
]
