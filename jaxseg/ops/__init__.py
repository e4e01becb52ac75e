"""Array functions of the networks: pure functions that need only jax.

`implementation` selects the form that they run in.
"""

from jaxseg.ops.adaptive_pooling import adaptive_avg_pool, adaptive_max_pool
from jaxseg.ops.dispatch import implementation
from jaxseg.ops.normalization import local_response_norm
from jaxseg.ops.pooling import max_pool, max_pool_with_argmax
from jaxseg.ops.unpooling import max_unpool
from jaxseg.ops.upsampling import (
    Upsampling,
    align_corners,
    bilinear_deconv,
    half_pixel,
    resize_bilinear,
)

__all__ = [
    "Upsampling",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "align_corners",
    "bilinear_deconv",
    "half_pixel",
    "implementation",
    "local_response_norm",
    "max_pool",
    "max_pool_with_argmax",
    "max_unpool",
    "resize_bilinear",
]
