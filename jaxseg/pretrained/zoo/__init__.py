"""Published networks by name: the registry, their files, and the cache."""

from jaxseg.pretrained.zoo.rows import Row, list_pretrained

__all__ = ["Row", "list_pretrained"]
