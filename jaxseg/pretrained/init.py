"""The initial variables of a new run, as set by its config."""

from typing import Any

import flax.linen as nn
import jax
import ml_collections

from jaxseg.pretrained.load import load, suggest
from jaxseg.pretrained.read import read_weights


def starting_variables(
    model: nn.Module, init: ml_collections.ConfigDict, seed: int, image_size: tuple[int, int]
) -> tuple[dict[str, Any], str]:
    """Loads the variables of `config.init.pretrained`, and returns them with a report.

    Args:
      model: the network to train.
      init: the run's `config.init`, with a path or a name in `pretrained`.
      seed: seed of the initial values of parameters that are not in the file.
      image_size: (height, width) of an image that the network supports.

    Raises:
      InputError: as `load_pretrained`.
    """
    file = read_weights(init.pretrained)
    head, said = init.head, []
    if head is None:
        classes = suggest(file, source=init.source).num_classes
        head = "keep" if classes in (None, model.num_classes) else "reset"
        if head == "reset":
            said = [
                f"The weights have {classes} classes, this run has {model.num_classes}: the "
                "logits layers are initialised again (config.init.head)."
            ]
    variables, report = load(
        model, file, init.source, head, rng=jax.random.key(seed), image_size=image_size
    )
    return variables, "\n".join([str(report), *said])
