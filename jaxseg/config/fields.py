"""Checks a config: names and types of its fields, and values by `ranges`."""

import difflib
import functools
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from jaxseg.config.defaults import default_config
from jaxseg.config.ranges import ANY, CHECKS, CHOICES, LARGEST, NEEDS, PROTOCOLS
from jaxseg.errors import InputError, nearest
from jaxseg.losses import TAKES, names_in
from jaxseg.models.registry import check_fields as check_network_fields
from jaxseg.models.registry import list_models, network_fields


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """All fields by dotted name, sorted.

    >>> flatten(default_config())["optim.lr"]
    0.01
    """
    flat = {}
    for key, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            flat.update({f"{key}.{name}": v for name, v in flatten(value).items()})
        else:
            flat[key] = value
    return flat


@functools.cache
def field_types() -> dict[str, tuple[type, bool]]:
    """For every dotted name: the type of its values, and whether None is also valid.

    >>> field_types()["model.padding"]
    (<class 'int'>, True)
    """
    types = {}
    config = default_config()
    for name, value in flatten(config).items():
        section, _, field = name.rpartition(".")
        node = config[section] if section else config
        types[name] = (node.get_type(field), value is None)
    for field, kinds in network_fields().items():
        if len(kinds) > 1:
            types[f"model.{field}"] = (kinds[0], True)
    types["loss.class_weights"] = (tuple, True)
    return types


def takes_words(name: str) -> bool:
    """Whether a field of another type also accepts a word: model.remat is a bool or a policy."""
    if name == "loss.class_weights":
        return True
    section, _, field = name.rpartition(".")
    return section == "model" and str in network_fields().get(field, ())


def set_field(config: ml_collections.ConfigDict, name: str, value: Any) -> None:
    """Sets one field of `config` by its dotted name.

    An int is converted to a float, and a list to a tuple; optional fields accept None. The length
    of a run is given once: "80 epochs" for train.steps sets train.epochs, and a number of steps
    resets it.

    Raises:
      InputError: there is no such field, or the value has another type.

    >>> config = default_config()
    >>> set_field(config, "optim.lr", 1)
    >>> config.optim.lr
    1.0
    """
    _check_known(name)
    section, _, field = name.rpartition(".")
    node = config[section] if section else config
    if name == "train.steps":
        match = re.fullmatch(r"(\d*\.?\d+) *epochs?", value.strip()) if type(value) is str else None
        epochs = float(match[1]) if match else 0.0
        config.train.epochs = epochs or None
        if epochs:
            return
    value = _converted(name, value)
    with node.ignore_type():  # a copied config may have narrowed the type to that of its value
        node[field] = value


def check_scores(name: str) -> None:
    """Raises InputError for a field that has no effect on a trained network."""
    if name.partition(".")[0] not in ("eval", "data"):
        raise InputError(
            f"--config.{name} cannot be set for a trained network.",
            "Give fields of config.eval or config.data.",
        )


def score_otherwise(config: ml_collections.ConfigDict, values: Mapping[str, Any]) -> None:
    """Changes fields of a run's config for another evaluation, and validates the result.

    A new `eval.protocol` resets the fields that only the old protocol has, such as
    `eval.input_size`, unless `values` sets them. Its windows are the training crops by default.

    Args:
      config: modified in place.
      values: the new values, by dotted name.

    Raises:
      InputError: there is no such field, it is none of `eval` or `data`, or a value is invalid.
    """
    for name, value in values.items():
        set_field(config, name, value)
        check_scores(name)
    protocol = config.eval.protocol
    if "eval.protocol" in values and protocol in PROTOCOLS:
        defaults = flatten(default_config())
        for name in {name for names in PROTOCOLS.values() for name in names} - set(values):
            if name not in PROTOCOLS[protocol]:
                set_field(config, name, defaults[name])
        if "eval.crop" in PROTOCOLS[protocol] and config.eval.crop is None:
            config.eval.crop = config.augment.crop
    validate(config)


def check_fields(config: ml_collections.ConfigDict) -> None:
    """Checks that `config` has exactly the fields of `default_config`, with their types.

    Raises:
      InputError: a field is unknown, missing or has another type.
    """
    flat = flatten(config)
    for name in flat:
        _check_known(name)
    for name in field_types():
        if name not in flat:
            raise InputError(
                f"The config has no field {name}.", "Start from jaxseg.config.default_config()."
            )
        _converted(name, flat[name])


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks the names, types, ranges and choices of all fields.

    The names of models and data sets are checked where they are used.

    Raises:
      InputError: a field is invalid; the message gives its name, value and range.
    """
    check_fields(config)
    if config.model.name in list_models():  # an unknown name is reported later, with the choices
        fields = (f for f, v in config.model.items() if v is not None)
        check_network_fields(config.model.name, set(fields) - {"name", "num_classes"})
    flat = flatten(config)
    for name, choices in CHOICES.items():
        value = flat[name]
        if value is not None and value not in choices:
            raise InputError(f"Config field {name} is {value!r}.", nearest(value, choices))
    for name, value in flat.items():
        accepts, requirement = CHECKS.get(name, ANY)
        finite = not isinstance(value, float) or math.isfinite(value)
        if value is not None and not (finite and accepts(value)):
            none = ", or None" if flatten(default_config())[name] is None else ""
            raise InputError(f"Config field {name} is {value!r}.", f"Give {requirement}{none}.")
        if isinstance(value, int) and name != "seed" and abs(value) > LARGEST:
            raise InputError(f"Config field {name} is {value!r}.", f"Give at most {LARGEST}.")
    if config.train.epochs is None and config.optim.warmup_steps >= config.train.steps:
        raise InputError(
            f"Config field optim.warmup_steps is {config.optim.warmup_steps}, but the whole run "
            f"(train.steps) has {config.train.steps} steps.",
            "Lower optim.warmup_steps or raise train.steps.",
        )
    if config.train.batch_size % config.train.accumulate:
        raise InputError(
            f"Config field train.accumulate is {config.train.accumulate}, which does not divide "
            f"train.batch_size ({config.train.batch_size}).",
            "Set train.accumulate to a divisor of train.batch_size.",
        )
    if not config.train.batch_size and config.train.accumulate > 1:
        raise InputError(
            "Config field train.batch_size is 0, which requires train.accumulate 1, not "
            f"{config.train.accumulate}.",
            "Set train.accumulate to 1, or set train.batch_size.",
        )
    if config.optim.schedule == "step" and not config.optim.boundaries:
        raise InputError(
            "Config field optim.boundaries is empty, so the schedule 'step' has no step.",
            "Set it, for example to (9000, 18000), or set optim.schedule to 'constant'.",
        )
    if config.train.patience is not None and config.eval.every_steps is None:
        raise InputError(
            f"Config field train.patience is {config.train.patience}, but eval.every_steps is "
            "None, so nothing is evaluated before the end.",
            "Set eval.every_steps, or set train.patience to None.",
        )
    if config.data.split is not None and config.data.fold is not None:
        raise InputError(
            f"Config fields data.split ({config.data.split!r}) and data.fold "
            f"({config.data.fold!r}) are both set.",
            "Set one of them to None: each divides the images on its own.",
        )
    _check_needs(flat)
    _check_images(flat)
    _check_loss(flat)
    if config.eval.fit is not None and (config.eval.input_size or config.eval.pad_to):
        raise InputError(
            f"Config field eval.fit is {config.eval.fit}, but eval.input_size or eval.pad_to is "
            "also set.",
            "Set only one of them; the others must be None.",
        )
    if config.eval.input_size is not None and config.eval.pad_to is not None:
        raise InputError(
            f"Config fields eval.input_size ({config.eval.input_size}) and eval.pad_to "
            f"({config.eval.pad_to}) are both set.",
            "Set one of them to None: resized images already have one size.",
        )
    _check_protocol(flat)


def _check_needs(flat: dict[str, Any]) -> None:
    """Raises InputError for a field that has no effect because of the choice in another field."""
    defaults = flatten(default_config())
    for name, (other, value) in NEEDS.items():
        if flat[other] != value and flat[name] != defaults[name]:
            raise InputError(
                f"Config field {name} is {flat[name]!r}, which has no effect while {other} is "
                f"{flat[other]!r}.",
                f"Set {other} to {value!r}, or leave {name} at its default.",
            )


def _check_images(flat: dict[str, Any]) -> None:
    """Raises InputError if mean, std or colours do not match the number of channels."""
    channels, given = flat["data.channels"], [n for n in ("mean", "std") if flat[f"data.{n}"]]
    for name in given:
        count = len(flat[f"data.{name}"])
        if count != channels or len(given) == 1:
            raise InputError(
                f"Config field data.{name} has {count} numbers"
                + (
                    f" for {channels} channels."
                    if len(given) == 2
                    else ", but the other field is not set."
                ),
                "Set both data.mean and data.std, with one number per channel; `python -m jaxseg "
                "check` prints them.",
            )
    if channels == 3:
        return
    for name in ("saturation", "hue", "grayscale"):
        if flat[f"augment.{name}"]:
            raise InputError(
                f"Config field augment.{name} is {flat[f'augment.{name}']}, but it needs 3 "
                f"channels and data.channels is {channels}.",
                "Set it to 0; brightness, contrast, blur and noise work on any image.",
            )


def _check_loss(flat: dict[str, Any]) -> None:
    """Raises InputError for an unknown loss, or a field that none of the chosen losses uses."""
    names = names_in(flat["loss.name"])
    taken = {field for name in names for field in TAKES[name]}
    defaults = flatten(default_config())
    for field in sorted({field for fields in TAKES.values() for field in fields} - taken):
        if flat[f"loss.{field}"] != defaults[f"loss.{field}"]:
            users = [repr(name) for name, fields in TAKES.items() if field in fields]
            raise InputError(
                f"Config field loss.{field} is {flat[f'loss.{field}']!r}, which has no effect "
                f"while loss.name is {flat['loss.name']!r}.",
                f"Only {' and '.join(users)} use it; set it to {defaults[f'loss.{field}']!r}.",
            )


def _check_protocol(flat: dict[str, Any]) -> None:
    """Raises InputError if a field of `eval` has no effect in the protocol, or is missing."""
    protocol, defaults = flat["eval.protocol"], flatten(default_config())
    for name in {name: None for names in PROTOCOLS.values() for name in names}:
        if name not in PROTOCOLS[protocol] and flat[name] != defaults[name]:
            others = [repr(other) for other, names in PROTOCOLS.items() if name in names]
            raise InputError(
                f"Config field {name} is {flat[name]!r}, which has no effect while eval.protocol "
                f"is {protocol!r}.",
                f"Set eval.protocol to {' or '.join(others)}, or leave {name} at "
                f"{defaults[name]!r}.",
            )
    if protocol != "whole" and flat["eval.crop"] is None:
        raise InputError(
            f"Config field eval.protocol is {protocol!r}, but eval.crop is None.",
            "Set eval.crop to the window size, usually that of the training crops.",
        )
    rule = flat["eval.ensemble_rule"]
    if rule != "mean" and (flat["eval.ensemble"] is None or protocol == "sliding"):
        raise InputError(
            f"Config field eval.ensemble_rule is {rule!r}, which needs a second network "
            "(eval.ensemble) and eval.protocol 'whole' or 'instances', which give logits.",
            "Set those, or set eval.ensemble_rule to 'mean'.",
        )


def _check_known(name: str) -> None:
    """Raises InputError unless `name` is the dotted name of a field, not of a group."""
    fields = list(field_types())
    if name in fields:
        return
    inside = [f for f in fields if f.startswith(f"{name}.")]
    if inside:
        raise InputError(
            f"Config field {name} is a group of fields.", f"Set one of {', '.join(inside)}."
        )
    raise InputError(f"There is no config field {name}.", _nearest_field(name, fields))


def _nearest_field(name: str, fields: list[str]) -> str:
    """Names the closest fields in the whole config: 'lr' finds 'optim.lr'."""
    section, _, last = name.rpartition(".")

    def likeness(field: str) -> float:
        place, _, field_last = field.rpartition(".")
        weight = 1.0 if section in ("", place) else 0.9
        whole = difflib.SequenceMatcher(None, name, field).ratio()
        return max(whole, weight * difflib.SequenceMatcher(None, last, field_last).ratio())

    scored = sorted(((likeness(f), f) for f in fields), key=lambda pair: -pair[0])
    best = scored[0][0]
    if best < 0.6:
        beside = [f for f in fields if f.startswith(f"{section}.")] if section else []
        return f"Choose one of {', '.join(beside or fields)}."
    close = [repr(f) for score, f in scored[:3] if score > best - 0.05]
    return f"Did you mean {' or '.join(close)}?"


_KINDS = {
    bool: ("true or false", "true"),
    int: ("a whole number", "1"),
    float: ("a number", "0.5"),
    str: ("a word", "train"),
    tuple: ("a tuple", ""),
}


def wrong_type(name: str, value: Any) -> InputError:
    """The error for a value of the wrong type for the field `name`; it states the valid values."""
    kind, optional = field_types()[name]
    takes, example = _KINDS[kind]
    default = flatten(default_config())[name]
    example = example if default in (None, ()) else str(default)
    remedy = f"Give {CHECKS[name][1]}." if kind is tuple else f"Give a value such as {example}."
    return InputError(
        f"Config field {name} must be {takes}{' or None' if optional else ''}, not {value!r}.",
        remedy,
    )


def _converted(name: str, value: Any) -> Any:
    """Converts `value` to the type of the field `name`; raises InputError if impossible."""
    kind, optional = field_types()[name]
    if value is None and optional:
        return None
    if kind is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, np.generic):
        value = value.item()
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(tuple(v) if isinstance(v, list) else v for v in value)
    if type(value) is not kind and not (type(value) is str and takes_words(name)):
        raise wrong_type(name, value)
    return value
