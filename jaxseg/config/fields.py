"""Checks of a config: its fields' names, types, ranges and choices."""

import difflib
import functools
import math
import re
from collections.abc import Callable
from typing import Any

import ml_collections

from jaxseg.config.defaults import default_config
from jaxseg.errors import InputError, nearest


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
    if config.train.batch_size % config.train.accumulate:
        raise InputError(
            f"Config field train.accumulate is {config.train.accumulate}, which train.batch_size "
            f"({config.train.batch_size}) is no multiple of.",
            "Give equal parts: train.batch_size / train.accumulate images each.",
        )
    if config.optim.schedule == "step" and not config.optim.boundaries:
        raise InputError(
            "Config field optim.boundaries is empty, so the schedule 'step' has no step.",
            "Give it such as (9000, 18000), or choose optim.schedule 'constant'.",
        )
    _check_needs(flat)
    _check_loss(flat)
    if config.eval.input_size is not None and config.eval.pad_to is not None:
        raise InputError(
            f"Config fields eval.input_size ({config.eval.input_size}) and eval.pad_to "
            f"({config.eval.pad_to}) are both set.",
            "Leave one of them at None: what is resized has one size already.",
        )
    _check_protocol(flat)


def _check_needs(flat: dict[str, Any]) -> None:
    """Raises InputError where a field is set that the choice of another leaves without effect."""
    for name, (other, value) in _NEEDS.items():
        if flat[other] != value and flat[name] != flatten(default_config())[name]:
            raise InputError(
                f"Config field {name} is {flat[name]!r}, which changes nothing while {other} is "
                f"{flat[other]!r}.",
                f"Set {other} to {value!r}, or leave {name} at its default.",
            )


def _check_loss(flat: dict[str, Any]) -> None:
    """Raises InputError for an unknown loss, or a field that none of those that are named takes."""
    from jaxseg.losses import TAKES, names_in  # imports jax: not for those who only parse words

    names = names_in(flat["loss.name"])
    taken = {field for name in names for field in TAKES[name]}
    defaults = flatten(default_config())
    for field in sorted({field for fields in TAKES.values() for field in fields} - taken):
        if flat[f"loss.{field}"] != defaults[f"loss.{field}"]:
            users = [repr(name) for name, fields in TAKES.items() if field in fields]
            raise InputError(
                f"Config field loss.{field} is {flat[f'loss.{field}']!r}, which changes nothing "
                f"while loss.name is {flat['loss.name']!r}.",
                f"It is of {' and '.join(users)}; leave it at {defaults[f'loss.{field}']!r} here.",
            )


def _check_protocol(flat: dict[str, Any]) -> None:
    """Raises InputError where a field of `eval` has no meaning in the protocol, or is missing."""
    protocol, defaults = flat["eval.protocol"], flatten(default_config())
    for name in {name: None for names in _PROTOCOLS.values() for name in names}:
        if name not in _PROTOCOLS[protocol] and flat[name] != defaults[name]:
            others = [repr(other) for other, names in _PROTOCOLS.items() if name in names]
            raise InputError(
                f"Config field {name} is {flat[name]!r}, which changes nothing while eval.protocol "
                f"is {protocol!r}.",
                f"Set eval.protocol to {' or '.join(others)}, or leave {name} at "
                f"{defaults[name]!r}.",
            )
    if protocol != "whole" and flat["eval.crop"] is None:
        raise InputError(
            f"Config field eval.protocol is {protocol!r}, but eval.crop is None.",
            "Give eval.crop, the size of the windows: that of the training crops.",
        )
    rule = flat["eval.ensemble_rule"]
    if rule != "mean" and (flat["eval.ensemble"] is None or protocol == "sliding"):
        raise InputError(
            f"Config field eval.ensemble_rule is {rule!r}, which needs a second network "
            "(eval.ensemble) and an eval.protocol that has scores: 'whole' or 'instances'.",
            "Set those, or leave it at 'mean'.",
        )


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


def _is_folder(value: str) -> bool:
    return bool(re.fullmatch(r"[/~].*|gs://[a-z0-9][a-z0-9._-]+/[^*?\[\]#]*[^*?\[\]#/]/?", value))


def _are_bins(value: tuple) -> bool:
    return all(type(v) is int and v > 0 for v in value) and len(set(value)) == len(value)


def _are_boundaries(value: tuple) -> bool:
    return all(type(v) is int and v > 0 for v in value) and list(value) == sorted(set(value))


def _are_patterns(value: tuple) -> bool:
    return all(isinstance(v, str) and _is_pattern(v) for v in value)


def _is_pattern(value: str) -> bool:
    try:
        re.compile(value)
    except re.error:
        return False
    return True


def _is_rules(value: tuple) -> bool:
    for rule in value:
        if not (isinstance(rule, tuple) and len(rule) == 3 and isinstance(rule[0], str)):
            return False
        if not all(_is_number(scale) and scale >= 0 for scale in rule[1:]):
            return False
        if not _is_pattern(rule[0]):
            return False
    return True


_PROTOCOLS = {  # of evaluation, and the fields that only some of them have
    "whole": ("eval.input_size", "eval.pad_to"),
    "sliding": ("eval.crop", "eval.base_size", "eval.scales", "eval.flip", "eval.fusion"),
    "instances": ("eval.crop", "eval.windows", "eval.min_side", "eval.overlap", "eval.boxes"),
}

_CHOICES = {
    "eval.protocol": tuple(_PROTOCOLS),
    "eval.overlap": ("max", "mean"),
    "eval.ensemble_rule": ("mean", "product"),
    "eval.crf": ("deconvnet", "densecrf"),
    "model.norm": ("batch",),
    "model.upsampling": ("fixed", "learned"),
    "model.dropout_mode": ("element", "channel"),
    "model.stem": ("deep", "v1c", "7x7"),
    "model.stride_on": ("1x1", "3x3"),
    "model.pooling": ("avg", "max"),
    "model.decoder_init": ("gaussian", "he", "smoothing"),
    "model.normalization": ("caffe_vgg", "caffe_vgg_rounded", "caffe_pspnet", "imagenet"),
    "model.dtype": ("float32", "bfloat16"),
    "data.mask_values": ("indices", "zero_is_void", "binary"),
    "data.crops": ("objects", "boxes"),
    "data.sampling": ("shuffle", "replacement"),
    "data.on_error": ("raise", "skip"),
    "augment.backend": ("pillow", "opencv"),
    "augment.padding": ("random", "centre"),
    "init.head": ("keep", "reset"),
    "loss.reduction": ("mean", "sum"),
    "optim.name": ("sgd", "adamw"),
    "eval.fusion": ("semseg", "caffe"),
    "eval.absent": ("nan", "zero", "one"),
    "optim.schedule": ("constant", "poly", "cosine", "step"),
    "optim.momentum_form": ("caffe", "pytorch"),
}

# field: (the field that gives it a meaning, by which value)
_NEEDS = {
    "data.boxes": ("data.crops", "boxes"),
    "optim.boundaries": ("optim.schedule", "step"),
    "optim.factor": ("optim.schedule", "step"),
    "optim.momentum_form": ("optim.name", "sgd"),
}

_Check = tuple[Callable[[Any], bool], str]
_ANY: _Check = (lambda v: True, "a finite number")
_POSITIVE: _Check = (lambda v: v > 0, "a value above 0")
_NOT_NEGATIVE: _Check = (lambda v: v >= 0, "0 or more")
_PROBABILITY: _Check = (lambda v: 0 <= v <= 1, "a probability in 0..1")
_SIZE: _Check = (_is_size, "a pair of positive whole numbers: (height, width)")

_CHECKS: dict[str, _Check] = {
    "seed": (lambda v: 0 <= v < 2**32, "a seed in 0..4294967295"),
    "model.num_classes": (lambda v: 2 <= v <= 255, "a number of classes in 2..255"),
    "model.width": _POSITIVE,
    "model.fc_channels": _POSITIVE,
    "model.fc_kernel": _POSITIVE,
    "model.padding": _NOT_NEGATIVE,
    "model.dropout": (lambda v: 0 <= v < 1, "a rate of 0 or more, below 1"),
    "model.head_convs": _POSITIVE,
    "model.head_dilation": _POSITIVE,
    "model.aux_weight": _NOT_NEGATIVE,
    "model.bn_momentum": (lambda v: 0 <= v < 1, "a fraction of 0 or more, below 1"),
    "model.bn_epsilon": _POSITIVE,
    "model.bins": (_are_bins, "different whole numbers of 1 or more, such as (1, 2, 3, 6)"),
    "model.output_stride": (lambda v: v in (8, 16, 32), "8, 16 or 32"),
    "data.scenes_train": _POSITIVE,
    "data.scenes_eval": _POSITIVE,
    "data.scenes_size": _SIZE,
    "data.pad_to": _POSITIVE,
    "data.skip_limit": _NOT_NEGATIVE,
    "data.threads": _POSITIVE,
    "data.workers": _NOT_NEGATIVE,
    "data.prefetch": _POSITIVE,
    "augment.crop": _SIZE,
    "augment.scale": (_is_range, "a pair (low, high) with 0 < low <= high"),
    "augment.resize": _SIZE,
    "augment.rotation": (lambda v: 0 <= v <= 180, "an angle in 0..180 degrees"),
    "augment.rotation_probability": _PROBABILITY,
    "augment.blur": _PROBABILITY,
    "augment.flip": _PROBABILITY,
    "train.steps": _POSITIVE,
    "train.batch_size": _POSITIVE,
    "train.fsdp": _POSITIVE,
    "train.accumulate": _POSITIVE,
    "loss.smoothing": (lambda v: 0 <= v < 1, "a share of 0 or more, below 1"),
    "loss.gamma": _NOT_NEGATIVE,
    "loss.threshold": _PROBABILITY,
    "loss.share": _PROBABILITY,
    "loss.class_weights": (
        lambda v: all(_is_number(w) and w >= 0 for w in v) and any(v),
        "a tuple of weights of 0 or more, one for each class",
    ),
    "optim.lr": _POSITIVE,
    "optim.power": _POSITIVE,
    "optim.boundaries": (_are_boundaries, "steps in rising order, such as (9000, 18000)"),
    "optim.factor": _POSITIVE,
    "optim.warmup_steps": _NOT_NEGATIVE,
    "optim.momentum": (lambda v: 0 <= v < 1, "a momentum of 0 or more, below 1"),
    "optim.weight_decay": _NOT_NEGATIVE,
    "optim.clip_norm": _POSITIVE,
    "optim.rules": (
        _is_rules,
        "triples (regular expression, lr multiplier >= 0, decay multiplier >= 0), "
        "such as (('bias$', 2.0, 0.0),)",
    ),
    "optim.freeze": (_are_patterns, "regular expressions, such as ('^params/conv[1-4]_',)"),
    "optim.ema": (lambda v: 0 < v < 1, "a decay between 0 and 1, such as 0.999"),
    "eval.every_steps": _POSITIVE,
    "eval.batch_size": _POSITIVE,
    "eval.input_size": _SIZE,
    "eval.pad_to": _POSITIVE,
    "eval.windows": _POSITIVE,
    "eval.min_side": _NOT_NEGATIVE,
    "eval.crop": _SIZE,
    "eval.base_size": _POSITIVE,
    "eval.scales": (
        lambda v: len(v) > 0 and all(_is_number(s) and s > 0 for s in v),
        "scales above 0, such as (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)",
    ),
    "checkpoint.folder": (
        _is_folder,
        "an absolute path, or gs://BUCKET/PATH without *, ?, [, ], #",
    ),
    "checkpoint.every_steps": _POSITIVE,
    "checkpoint.keep_last": _POSITIVE,
    "checkpoint.keep_best": _NOT_NEGATIVE,
    "log.every_steps": _POSITIVE,
    "log.pictures": _NOT_NEGATIVE,
}
