"""A run on disk: its folder and its checkpoints."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxseg.checkpoint.manager import Checkpoints, restore_variables
    from jaxseg.checkpoint.steps import whole_steps

__all__ = ["Checkpoints", "restore_variables", "whole_steps"]

# Imported when they are asked for: a workdir can be opened without Orbax, which takes a second.
_MODULES = {
    "Checkpoints": "jaxseg.checkpoint.manager",
    "restore_variables": "jaxseg.checkpoint.manager",
    "whole_steps": "jaxseg.checkpoint.steps",
}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
