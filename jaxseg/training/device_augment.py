"""Augments images on the devices, by the plans of `jaxseg.data.Augment`."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import lax
from jax.sharding import Mesh

from jaxseg.data.blur import REACH
from jaxseg.data.colour_jitter import ColourJitter
from jaxseg.data.plan import Plan
from jaxseg.distributed.mesh import split_batch
from jaxseg.ops.dispatch import for_devices
from jaxseg.ops.warp import Positions, warp


def device_augment(
    config: ml_collections.ConfigDict, fill: Sequence[float], mesh: Mesh
) -> Callable[[jax.Array, Plan], jax.Array]:
    """Returns `augmented` for a run's `config.augment`, jitted for batches sharded over `mesh`."""
    jitter = any(config[field.name] for field in dataclasses.fields(ColourJitter))
    step = functools.partial(
        augmented, fill=fill, blur=config.blur > 0, rotated=config.rotation > 0, jitter=jitter
    )
    split = split_batch(mesh)
    return jax.jit(
        for_devices(step, mesh.devices.flatten()), in_shardings=split, out_shardings=split
    )


def augmented(
    images: jax.Array,
    plan: Plan,
    *,
    fill: Sequence[float],
    blur: bool = True,
    rotated: bool = True,
    jitter: bool = True,
) -> jax.Array:
    """Applies the plans of a batch to its images.

    Before the colours change, results differ from those of `Augment` on the host by at most one
    grey level, and nearly all pixels are identical. Changed colours can amplify a difference.

    Args:
      images: uint8 [N, H, W, 3], each in the upper left corner.
      plan: arrays with a leading axis of N.
      fill: the colour outside an image, (r, g, b) in 0..255.
      blur: whether the recipe blurs; the positions then have a margin.
      rotated: whether the recipe rotates.
      jitter: whether the recipe changes colours.

    Returns:
      uint8 [N, h, w, 3].
    """
    colour = jnp.asarray(np.array(fill, np.uint8))
    positions = Positions(plan.rows, plan.row_fractions, plan.columns, plan.column_fractions)
    pixels = warp(images, plan.size, positions, colour, rotated)
    if blur:
        sharp = pixels[:, REACH:-REACH, REACH:-REACH]
        pixels = jnp.where(plan.blurred[:, None, None, None], _blurred(pixels), sharp)
    pixels = jnp.where(_inside(plan.inside, pixels.shape)[..., None], pixels, colour)
    return _recoloured(pixels, plan.colours) if jitter else pixels


def _blurred(pixels: jax.Array) -> jax.Array:
    """Blurs by (1, 4, 6, 4, 1) / 16 along both axes, rounding half up; removes the margin."""
    total = pixels.astype(jnp.int32)
    for _ in range(2 * REACH):
        total = total[:, 1:] + total[:, :-1]
    for _ in range(2 * REACH):
        total = total[:, :, 1:] + total[:, :, :-1]
    return ((total + 128) >> 8).astype(pixels.dtype)


def _inside(edges: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Whether each pixel shows the image, [N, h, w]."""
    top, bottom, left, right = (edges[:, i, None] for i in range(4))
    rows, columns = jnp.arange(shape[1]), jnp.arange(shape[2])
    vertical = (rows >= top) & (rows < bottom)
    return vertical[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]


def _recoloured(pixels: jax.Array, colours: jax.Array) -> jax.Array:
    values = pixels.astype(jnp.float32)
    exact = lax.Precision.HIGHEST  # products of the default precision lose half of the 8 bits
    changed = jnp.einsum("nij,nhwj->nhwi", colours[:, :, :3], values, precision=exact)
    offset = jnp.einsum("nij,nj->ni", colours[:, :, 3:], values.mean((1, 2)), precision=exact)
    return jnp.clip(changed + (offset + 0.5)[:, None, None], 0, 255).astype(pixels.dtype)
