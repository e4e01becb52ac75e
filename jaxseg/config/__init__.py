"""The configuration of a run; `jaxseg.config.defaults` documents every field."""

from typing import TYPE_CHECKING

from jaxseg.utils.lazy import lazy_names

if TYPE_CHECKING:
    from jaxseg.config.defaults import default_config
    from jaxseg.config.fields import (
        check_fields,
        check_scores,
        field_types,
        flatten,
        score_otherwise,
        set_field,
        takes_words,
        validate,
        wrong_type,
    )
    from jaxseg.config.files import load_config, save_config

__all__ = [
    "check_fields",
    "check_scores",
    "default_config",
    "field_types",
    "flatten",
    "load_config",
    "save_config",
    "score_otherwise",
    "set_field",
    "takes_words",
    "validate",
    "wrong_type",
]

# A config includes the fields of the networks, so it imports JAX; --help must not.
__getattr__ = lazy_names(
    __name__,
    {
        "check_fields": "fields",
        "check_scores": "fields",
        "default_config": "defaults",
        "field_types": "fields",
        "flatten": "fields",
        "load_config": "files",
        "save_config": "files",
        "score_otherwise": "fields",
        "set_field": "fields",
        "takes_words": "fields",
        "validate": "fields",
        "wrong_type": "fields",
    },
)
