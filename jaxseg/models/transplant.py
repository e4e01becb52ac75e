"""Initialises a network from the variables of another network."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxseg.errors import InputError


def transplant(
    source: Mapping[str, Any], target: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Copies every array that two networks share: same path, same shape.

    FCN-16s starts from a trained FCN-32s in this way, and FCN-8s from FCN-16s (Long et al. 2015,
    section 4.2). The new logits layers start at zero. The logits of the coarser network are
    therefore unchanged, and the first fused map is their twofold upsampling. The logits at image
    resolution interpolate that map and not the coarser one: they are linear between finer cells, so
    at the coarse cells they differ by up to an eighth of the second difference of the logits along
    each axis.

    Args:
      source: variables of the network to start from (`{"params": ..., "batch_stats": ...}`).
      target: variables of the new network, as returned by its `init`.

    Returns:
      The variables of the new network, and the paths ("params/score_pool4/kernel") of the arrays
      that kept their initial values because the source has none with that path and shape.

    Raises:
      InputError: the networks share no array.

    >>> import jaxseg
    >>> coarse, fine = (
    ...     jaxseg.create_model(name, 5, width=0.02, padding=1)
    ...     for name in ("fcn32s_vgg16", "fcn16s_vgg16")
    ... )
    >>> key, x = jax.random.key(0), jax.numpy.zeros([1, 32, 32, 3])
    >>> before, start = (jax.eval_shape(m.init, key, x) for m in (coarse, fine))  # only shapes
    >>> variables, new = transplant(before, start)
    >>> new
    ['params/score_pool4/bias', 'params/score_pool4/kernel']
    """
    known = {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(source)[0]}
    leaves, tree = jax.tree_util.tree_flatten_with_path(target)
    taken, new = [], []
    for path, leaf in leaves:
        name = _name(path)
        if name in known and known[name].shape == leaf.shape:
            taken.append(known[name])
        else:
            taken.append(leaf)
            new.append(name)
    if len(new) == len(leaves):
        raise InputError(
            "The networks have no arrays with the same path and shape in common.",
            "Give the complete variables of two networks with the same width.",
        )
    return jax.tree_util.tree_unflatten(tree, taken), new


def _name(path) -> str:
    return "/".join(key.key for key in path)
