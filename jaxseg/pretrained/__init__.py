"""Published weights: readers of their files, and what they are called inside."""

from jaxseg.pretrained.load import load, load_pretrained, suggest
from jaxseg.pretrained.report import ImportReport

__all__ = ["ImportReport", "load", "load_pretrained", "suggest"]
