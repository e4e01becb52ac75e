"""The one way to open a trained network."""

import os

from jaxseg.inference.network import Network
from jaxseg.pretrained.trained import open_trained


def load(name_or_path: str | os.PathLike, step: str | int = "last") -> Network:
    """Opens a trained network.

    Args:
      name_or_path: a name of `jaxseg.list_pretrained()`, whose file is downloaded and converted
        once; `hf://owner/repo` on the Hugging Face Hub (extra "hub"); a run's workdir,
        `WORKDIR/checkpoints/STEP`, a folder that `python -m jaxseg convert` wrote, or a file of
        published weights (`.caffemodel`, `.pth`, `.safetensors`), whose network is told from the
        names of its tensors. What lies at a path wins over a name.
      step: of a workdir: "last", "best" (by mean IoU) or a step's number.

    Returns:
      The network with its variables, classes and origin; `.predict` labels an image.

    Raises:
      InputError: there is no such network, or its files are damaged.
    """
    return Network(**vars(open_trained(name_or_path, step)))
