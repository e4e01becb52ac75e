"""Every field of a run's configuration, with its default: the one place where they are documented.

A file in `configs/` calls `default_config()`, changes what it needs and returns it. The result is
locked: a field that is not listed here cannot be set, and a value of another type is refused. An
int becomes a float, and a list a tuple, where the field has that type; only an optional field takes
None.
"""

import difflib
import functools
import json
import math
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import ml_collections
from ml_collections.config_dict import placeholder

from jaxseg.errors import InputError, nearest


def default_config() -> ml_collections.ConfigDict:
    """All fields with their defaults.

    A field whose default is None is optional: left at None, what its comment says holds.

    >>> default_config().optim.momentum
    0.9
    """
    c = ml_collections.ConfigDict()
    c.seed = 0  # seeds initialisation, dropout, shuffling and augmentation

    c.model = ml_collections.ConfigDict()
    c.model.name = "fcn8s_vgg16"  # one of jaxseg.list_models()
    c.model.num_classes = placeholder(int)  # None: as many as the data set has
    c.model.width = 1.0  # multiplies the channels of every hidden layer
    c.model.fc_channels = placeholder(int)  # of fc6 and fc7, before width; None: 4096
    c.model.norm = placeholder(
        str
    )  # None: as published; "batch": batch norm after each convolution
    c.model.padding = placeholder(int)  # zeros around the image; None: as published (100)
    c.model.dropout = placeholder(float)  # rate; None: as published
    c.model.dtype = (
        "float32"  # "float32" or "bfloat16", of the computation; parameters stay float32
    )

    c.data = ml_collections.ConfigDict()
    c.data.name = "scenes"  # "scenes" (generated), "voc_folder" (VOC devkit layout), "voc2012"
    c.data.root = placeholder(str)  # folder of the data set, where it needs one
    c.data.train_split = "train"  # name of the list to train on
    c.data.eval_split = "val"  # name of the list to score on
    c.data.scenes_train = 512  # scenes only: how many to train on
    c.data.scenes_eval = 64  # scenes only: how many to score on
    c.data.scenes_size = (96, 96)  # scenes only: (height, width) in pixels
    c.data.cache = False  # keep decoded images in memory (3 + 1 bytes a pixel)
    c.data.threads = 2  # threads that decode and augment, in each process that does
    c.data.workers = 0  # worker processes; 0: the threads run in this process
    c.data.prefetch = 4  # batches prepared ahead

    c.augment = ml_collections.ConfigDict()
    c.augment.crop = placeholder(tuple)  # (height, width) in pixels; None: whole images
    c.augment.scale = (1.0, 1.0)  # uniform range of the random scale
    c.augment.flip = 0.0  # probability of mirroring left and right

    c.train = ml_collections.ConfigDict()
    c.train.steps = 1000  # optimiser steps of the whole run
    c.train.batch_size = 8  # images a step, over all devices and processes

    c.loss = ml_collections.ConfigDict()
    c.loss.reduction = "mean"  # over labelled pixels: "mean", or "sum" divided by the batch size

    c.optim = ml_collections.ConfigDict()
    c.optim.name = "sgd"  # "sgd" (momentum) or "adamw"
    c.optim.lr = 0.01  # peak learning rate
    c.optim.schedule = "constant"  # after warm-up: "constant", "poly" or "cosine" (both end at 0)
    c.optim.power = 0.9  # exponent of "poly": lr * (1 - step / steps) ** power
    c.optim.warmup_steps = 0  # steps of linear warm-up from 0
    c.optim.momentum = 0.9  # sgd only
    c.optim.weight_decay = 0.0  # of every parameter, unless a rule scales it
    c.optim.clip_norm = placeholder(float)  # largest global norm of the gradient; None: any
    # (pattern, lr multiplier, decay multiplier): the first pattern found in a parameter's path
    # ("params/conv1_1/kernel") decides; a parameter that no pattern finds has (1, 1)
    c.optim.rules = ()

    c.eval = ml_collections.ConfigDict()
    c.eval.every_steps = placeholder(int)  # steps between evaluations; None: only at the end
    c.eval.batch_size = placeholder(int)  # None: train.batch_size
    c.eval.input_size = placeholder(tuple)  # (height, width) the image is resized to; None: native
    # scores always count the labels' own pixels, whatever size the network sees

    c.checkpoint = ml_collections.ConfigDict()
    c.checkpoint.every_steps = placeholder(
        int
    )  # None: ten times a run; the last step is always saved
    c.checkpoint.keep_last = 1  # newest checkpoints kept
    c.checkpoint.keep_best = 1  # best by mean IoU kept, besides

    c.log = ml_collections.ConfigDict()
    c.log.every_steps = 20  # a line in metrics.jsonl and TensorBoard this often
    c.log.pictures = 4  # evaluation images in the picture at the end
    return c.lock()


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Every field by its dotted name, sorted.

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
    """For every dotted name: the type of its values, and whether it takes None as well.

    >>> field_types()["model.padding"]
    (<class 'int'>, True)
    """
    types = {}
    config = default_config()
    for name, value in flatten(config).items():
        section, _, field = name.rpartition(".")
        node = config[section] if section else config
        types[name] = (node.get_type(field), value is None)
    return types


def set_field(config: ml_collections.ConfigDict, name: str, value: Any) -> None:
    """Sets one field of `config` by its dotted name.

    An int is taken for a float, a list for a tuple, and None where the field is optional.

    Raises:
      InputError: there is no such field, or the value is of another type.

    >>> config = default_config()
    >>> set_field(config, "optim.lr", 1)
    >>> config.optim.lr
    1.0
    """
    _check_known(name)
    section, _, field = name.rpartition(".")
    node = config[section] if section else config
    node[field] = _converted(name, value)


def check_fields(config: ml_collections.ConfigDict) -> None:
    """Checks that `config` has exactly the fields of `default_config`, each of its own type.

    Raises:
      InputError: naming the field that is unknown, missing or of another type.
    """
    flat = flatten(config)
    for name in flat:
        _check_known(name)
    for name in field_types():
        if name not in flat:
            raise InputError(
                f"The config lacks the field {name}.", "Start from jaxseg.config.default_config()."
            )
        _converted(name, flat[name])


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks the names, types, ranges and choices of all fields.

    The names of models and data sets are left to the layers that know them.

    Raises:
      InputError: naming the field, its value and what it takes.
    """
    check_fields(config)
    flat = flatten(config)
    for name, choices in _CHOICES.items():
        value = flat[name]
        if value is not None and value not in choices:
            raise InputError(f"Config field {name} is {value!r}.", nearest(value, choices))
    for name, value in flat.items():
        accepts, requirement = _CHECKS.get(name, _ANY)
        finite = not isinstance(value, float) or math.isfinite(value)
        if value is not None and not (finite and accepts(value)):
            raise InputError(f"Config field {name} is {value!r}.", f"Give {requirement}.")
    if config.optim.warmup_steps >= config.train.steps:
        raise InputError(
            f"Config field optim.warmup_steps is {config.optim.warmup_steps}, but the whole run "
            f"(train.steps) has {config.train.steps} steps.",
            "Lower optim.warmup_steps or raise train.steps.",
        )


def save_config(config: ml_collections.ConfigDict, path: str | os.PathLike) -> None:
    """Writes `config` as JSON, one line a field by its dotted name; never leaves half a file.

    Raises:
      InputError: the file cannot be written.
    """
    path = pathlib.Path(path)
    lines = (f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in flatten(config).items())
    unfinished = path.with_name(path.name + ".tmp")
    try:
        unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        unfinished.replace(path)
    except OSError as e:
        raise InputError(
            f"Cannot write {path}: {e.strerror}.", "Choose a folder that you may write to."
        ) from None


def load_config(path: str | os.PathLike) -> ml_collections.ConfigDict:
    """Reads what `save_config` wrote; a field that the file lacks has its default.

    Raises:
      InputError: the file is missing or is not such JSON, or a field is unknown or out of range.
    """
    try:
        fields = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(
            f"Cannot read the config {path}: {e.strerror}.", "Give the workdir of a run."
        ) from None
    except ValueError as e:
        raise InputError(f"{path} is not valid JSON: {e}.", "Restore the file.") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path} holds no config fields.", "Restore the file.")
    config = default_config()
    try:
        for name, value in fields.items():
            set_field(config, name, value)
        validate(config)
    except InputError as e:
        raise InputError(f"{path}: {e.problem}", e.remedy) from None
    return config


def _check_known(name: str) -> None:
    """Raises InputError unless `name` is the dotted name of a field, not of a section."""
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
    """Names the closest fields, wherever in the tree they are: 'lr' finds 'optim.lr'."""
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
    """The error for a value that the field `name` cannot take: says what it takes."""
    kind, optional = field_types()[name]
    takes, example = _KINDS[kind]
    default = flatten(default_config())[name]
    example = example if default in (None, ()) else str(default)
    remedy = f"Give {_CHECKS[name][1]}." if kind is tuple else f"Give a value such as {example}."
    return InputError(
        f"Config field {name} takes {takes}{' or None' if optional else ''}, not {value!r}.", remedy
    )


def _converted(name: str, value: Any) -> Any:
    """`value` as the field `name` keeps it, or InputError."""
    kind, optional = field_types()[name]
    if value is None and optional:
        return None
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(tuple(v) if isinstance(v, list) else v for v in value)
    if type(value) is not kind:
        raise wrong_type(name, value)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_size(value: tuple) -> bool:
    return len(value) == 2 and all(type(v) is int and v > 0 for v in value)


def _is_range(value: tuple) -> bool:
    return len(value) == 2 and all(map(_is_number, value)) and 0 < value[0] <= value[1]


def _is_rules(value: tuple) -> bool:
    for rule in value:
        if not (isinstance(rule, tuple) and len(rule) == 3 and isinstance(rule[0], str)):
            return False
        if not all(_is_number(scale) and scale >= 0 for scale in rule[1:]):
            return False
        try:
            re.compile(rule[0])
        except re.error:
            return False
    return True


_CHOICES = {
    "model.norm": ("batch",),
    "model.dtype": ("float32", "bfloat16"),
    "loss.reduction": ("mean", "sum"),
    "optim.name": ("sgd", "adamw"),
    "optim.schedule": ("constant", "poly", "cosine"),
}

_Check = tuple[Callable[[Any], bool], str]
_ANY: _Check = (lambda v: True, "a finite number")
_POSITIVE: _Check = (lambda v: v > 0, "a value above 0")
_NOT_NEGATIVE: _Check = (lambda v: v >= 0, "0 or more")
_SIZE: _Check = (_is_size, "a pair of positive whole numbers: (height, width)")

_CHECKS: dict[str, _Check] = {
    "seed": (lambda v: 0 <= v < 2**32, "a seed in 0..4294967295"),
    "model.num_classes": (lambda v: 2 <= v <= 255, "a number of classes in 2..255"),
    "model.width": _POSITIVE,
    "model.fc_channels": _POSITIVE,
    "model.padding": _NOT_NEGATIVE,
    "model.dropout": (lambda v: 0 <= v < 1, "a rate of 0 or more, below 1"),
    "data.scenes_train": _POSITIVE,
    "data.scenes_eval": _POSITIVE,
    "data.scenes_size": _SIZE,
    "data.threads": _POSITIVE,
    "data.workers": _NOT_NEGATIVE,
    "data.prefetch": _POSITIVE,
    "augment.crop": _SIZE,
    "augment.scale": (_is_range, "a pair (low, high) with 0 < low <= high"),
    "augment.flip": (lambda v: 0 <= v <= 1, "a probability in 0..1"),
    "train.steps": _POSITIVE,
    "train.batch_size": _POSITIVE,
    "optim.lr": _POSITIVE,
    "optim.power": _POSITIVE,
    "optim.warmup_steps": _NOT_NEGATIVE,
    "optim.momentum": (lambda v: 0 <= v < 1, "a momentum of 0 or more, below 1"),
    "optim.weight_decay": _NOT_NEGATIVE,
    "optim.clip_norm": _POSITIVE,
    "optim.rules": (
        _is_rules,
        "triples (regular expression, lr multiplier >= 0, decay multiplier >= 0), "
        "such as (('bias$', 2.0, 0.0),)",
    ),
    "eval.every_steps": _POSITIVE,
    "eval.batch_size": _POSITIVE,
    "eval.input_size": _SIZE,
    "checkpoint.every_steps": _POSITIVE,
    "checkpoint.keep_last": _POSITIVE,
    "checkpoint.keep_best": _NOT_NEGATIVE,
    "log.every_steps": _POSITIVE,
    "log.pictures": _NOT_NEGATIVE,
}
