"""Helpers for the fields of networks."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from jaxseg.errors import InputError


def scaled(features: int, width: float) -> int:
    """`features` times `width`, rounded, at least 1.

    >>> scaled(64, 0.25), scaled(64, 0.001)
    (16, 1)
    """
    return max(1, round(features * width))


def check_choice(field: str, value: Any, choices: Iterable) -> None:
    """Raises InputError if `value` is not one of `choices`."""
    if value not in choices:
        known = ", ".join(repr(c) for c in choices)
        raise InputError(f"{field} is {value!r}.", f"Choose one of {known}.")


def field_names(module: Any) -> list[str]:
    """The fields of a Linen module that a caller may set."""
    return [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
