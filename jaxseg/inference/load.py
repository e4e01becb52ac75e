"""Opens trained networks by name, path or Hub id."""

import os

from jaxseg.inference.network import Network
from jaxseg.pretrained.trained import open_trained


def load(name_or_path: str | os.PathLike, step: str | int = "last") -> Network:
    """Opens a trained network.

    Args:
      name_or_path: a name of `jaxseg.list_pretrained()`, whose file is downloaded and converted
        once; `hf://owner/repo` on the Hugging Face Hub (extra "hub"); the workdir of a run,
        `WORKDIR/checkpoints/STEP`, a folder written by `python -m jaxseg convert`, or a file of
        published weights (`.caffemodel`, `.pth`, `.safetensors`), whose network is detected from
        its tensor names. An existing path takes precedence over a name.
      step: for a workdir: "last", "best" (by mean IoU) or the number of a step.

    Returns:
      The network with its variables, classes and origin; `.predict` labels an image.

    Raises:
      InputError: there is no such network, or its files are damaged.
    """
    return Network(**vars(open_trained(name_or_path, step)))
