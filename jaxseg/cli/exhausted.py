"""Errors of a command for a full disk or memory, or a refused path, that no code has handled."""

import atexit
import pathlib
import sys

from jaxseg.errors import InputError
from jaxseg.utils.access import access_error
from jaxseg.utils.exhausted import disk_is_full, full_disk, full_memory, memory_is_full

_SMALLER = {
    "evaluate": "Set --config.eval.batch_size=1, a smaller --config.eval.input_size, or "
    "--config.eval.protocol=sliding with a --config.eval.crop, which needs one window at a time.",
    "predict": "Set a smaller --config.eval.input_size, or --config.eval.protocol=sliding with a "
    "--config.eval.crop, which needs one window at a time.",
    "benchmark": "Set a smaller config.train.batch_size or config.augment.crop, a larger "
    "config.train.accumulate, or config.model.remat=True.",
}


def command_error(error: Exception, command: str) -> InputError | None:
    """The InputError for a full disk or memory, or a refused path; None for any other error."""
    if disk_is_full(error):
        name = getattr(error, "filename", None)
        place = pathlib.Path(name) if isinstance(name, str) else pathlib.Path.cwd()
        return full_disk(place, "all finished files are complete")
    if memory_is_full(error):
        # JAX's own clean-up, which comes later, may lack memory too
        atexit.register(setattr, sys, "unraisablehook", lambda unraisable: None)
        remedy = _SMALLER.get(command, "Use smaller images, or close other programs.")
        return full_memory(error, f"`{command}`", remedy)
    return access_error(error)
