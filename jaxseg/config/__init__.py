"""The configuration of a run; `jaxseg.config.defaults` documents every field."""

from jaxseg.config.defaults import default_config
from jaxseg.config.fields import (
    check_fields,
    field_types,
    flatten,
    set_field,
    takes_words,
    validate,
    wrong_type,
)
from jaxseg.config.files import load_config, save_config

__all__ = [
    "check_fields",
    "default_config",
    "field_types",
    "flatten",
    "load_config",
    "save_config",
    "set_field",
    "takes_words",
    "validate",
    "wrong_type",
]
