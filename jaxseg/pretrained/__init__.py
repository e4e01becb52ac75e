"""Published weights: readers of file formats, converters of parameters, folders of networks."""

from jaxseg.pretrained.export import export
from jaxseg.pretrained.folder import save_exported
from jaxseg.pretrained.load import load, load_pretrained, suggest
from jaxseg.pretrained.report import ImportReport
from jaxseg.pretrained.trained import load_exported

__all__ = [
    "ImportReport",
    "export",
    "load",
    "load_exported",
    "load_pretrained",
    "save_exported",
    "suggest",
]
