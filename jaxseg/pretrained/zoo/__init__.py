"""Published networks by name: what there is, where it lies, and the cache of what was fetched."""

from jaxseg.pretrained.zoo.rows import Row, list_pretrained

__all__ = ["Row", "list_pretrained"]
