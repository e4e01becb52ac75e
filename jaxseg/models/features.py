"""Returns the intermediate arrays of a network by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict
from jax.typing import ArrayLike

from jaxseg.errors import InputError, nearest


def features(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: ArrayLike,
    names: Sequence[str] | str | None = None,
) -> dict[str, jax.Array]:
    """The outputs of a network's layers for a batch of images, in evaluation mode.

    The output of a layer has the name of the layer in the parameters ("conv3_1", "fc7",
    "backbone/layer2_block1/conv2"). The docstring of each network lists additional names, such as
    "pool5", "unpool1" or "level6_upsampled". A pure function: under `jit` only the requested arrays
    and their inputs are computed.

    Args:
      model: the network.
      variables: its parameters and statistics.
      images: [N, H, W, 3] floating point, normalised.
      names: the arrays to return, or one of them; None: all.

    Returns:
      The arrays by name: [N, h, w, channels] in the network's `dtype`.

    Raises:
      InputError: the network has no array with one of the names.

    >>> import functools, jaxseg
    >>> model = jaxseg.create_model("fcn8s_vgg16", num_classes=3, width=0.02, padding=1)
    >>> images = jax.ShapeDtypeStruct([1, 64, 96, 3], "float32")  # names need only shapes
    >>> variables = jax.eval_shape(model.init, jax.random.key(0), images)
    >>> found = jax.eval_shape(functools.partial(features, model), variables, images)
    >>> list(found)[:3], found["pool5"].shape
    (['conv1_1', 'conv1_2', 'conv2_1'], (1, 2, 3, 10))
    """
    _, collected = model.apply(variables, images, method="heads", mutable=["features"])
    found = {
        name.removesuffix("/out"): array
        for name, array in flatten_dict(collected["features"], sep="/").items()
    }
    if names is None:
        return found
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in found:
            raise InputError(
                f"{type(model).__name__} has no features '{name}'.", nearest(name, found)
            )
    return {name: found[name] for name in names}
