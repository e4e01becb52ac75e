"""A run on disk: its folder and its checkpoints."""

from typing import TYPE_CHECKING

from jaxseg.utils.lazy import lazy_names

if TYPE_CHECKING:
    from jaxseg.checkpoint.manager import Checkpoints
    from jaxseg.checkpoint.reading import restore_variables
    from jaxseg.checkpoint.steps import whole_steps

__all__ = ["Checkpoints", "restore_variables", "whole_steps"]

# Opening a workdir must not import Orbax, which takes a second.
__getattr__ = lazy_names(
    __name__,
    {"Checkpoints": "manager", "restore_variables": "reading", "whole_steps": "steps"},
)
