"""The range or choices of each config field, and the dependencies between fields."""

import math
import re
from collections.abc import Callable
from typing import Any

from jaxseg.ops.remat import POLICIES


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_size(value: tuple) -> bool:
    return len(value) == 2 and all(type(v) is int and v > 0 for v in value)


def _is_range(value: tuple) -> bool:
    return len(value) == 2 and all(map(_is_number, value)) and 0 < value[0] <= value[1]


def _is_folder(value: str) -> bool:
    return bool(re.fullmatch(r"[/~].*|gs://[a-z0-9][a-z0-9._-]+/[^*?\[\]#]*[^*?\[\]#/]/?", value))


def _are_numbers(value: tuple) -> bool:
    return len(value) > 0 and all(map(_is_number, value))


def _are_bins(value: tuple) -> bool:
    return all(type(v) is int and v > 0 for v in value) and len(set(value)) == len(value)


def first_and_last(text: str) -> tuple[int, int] | None:
    """The two steps of "N..M"; None for any other text.

    >>> first_and_last("10..14"), first_and_last("14..10")
    ((10, 14), None)
    """
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    steps = (int(found[1]), int(found[2])) if found else (0, 0)
    return steps if 1 <= steps[0] <= steps[1] else None


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


CLASS_WEIGHTS = ("auto", "enet", "sqrt")
"""The rules that compute class weights from the training masks."""

# evaluation protocols, with the fields that apply only to some of them
PROTOCOLS = {
    "whole": ("eval.input_size", "eval.fit", "eval.pad_to"),
    "sliding": ("eval.crop", "eval.base_size", "eval.scales", "eval.flip", "eval.fusion"),
    "instances": ("eval.crop", "eval.windows", "eval.min_side", "eval.overlap", "eval.boxes"),
}

CHOICES = {
    "eval.protocol": tuple(PROTOCOLS),
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
    "model.matmul_precision": ("default", "high", "highest"),
    "data.mask_values": ("indices", "zero_is_void", "binary"),
    "data.exif": ("error", "each", "both"),
    "data.unlabelled": ("background", "ignore"),
    "data.unannotated": ("error", "background"),
    "data.overlap": ("file", "size"),
    "data.crops": ("objects", "boxes"),
    "data.sampling": ("shuffle", "replacement"),
    "data.on_error": ("raise", "skip"),
    "augment.backend": ("kornia", "pillow", "opencv"),
    "augment.padding": ("random", "centre"),
    "init.head": ("keep", "reset"),
    "loss.reduction": ("mean", "sum"),
    "optim.name": ("sgd", "adamw"),
    "eval.fusion": ("semseg", "caffe"),
    "eval.absent": ("nan", "zero", "one"),
    "optim.schedule": ("constant", "poly", "cosine", "step"),
    "optim.momentum_form": ("caffe", "pytorch"),
}

# field: (the other field and its value that make it effective)
NEEDS = {
    "data.boxes": ("data.crops", "boxes"),
    "optim.power": ("optim.schedule", "poly"),
    "optim.boundaries": ("optim.schedule", "step"),
    "optim.factor": ("optim.schedule", "step"),
    "optim.momentum_form": ("optim.name", "sgd"),
}

LARGEST = 2**31 - 1
"""The largest integer of a field, except the seed: programs count in 32 bits."""

# a function that checks a value, and its range as text
_Check = tuple[Callable[[Any], bool], str]
ANY: _Check = (lambda v: True, "a finite number")
_POSITIVE: _Check = (lambda v: v > 0, "a value above 0")
_NOT_NEGATIVE: _Check = (lambda v: v >= 0, "0 or more")
_PROBABILITY: _Check = (lambda v: 0 <= v <= 1, "a probability in 0..1")
_SIZE: _Check = (_is_size, "a pair of positive whole numbers: (height, width)")

_SPLIT: _Check = (
    lambda v: all(part not in ("", ".", "..") for part in v.split("/")),
    "the name of a list or folder in the data set, such as 'val'",
)

_POLICIES = ", ".join(POLICIES)

CHECKS: dict[str, _Check] = {
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
    "model.bins": (_are_bins, "distinct whole numbers of 1 or more, such as (1, 2, 3, 6)"),
    "model.output_stride": (lambda v: v in (8, 16, 32), "8, 16 or 32"),
    "model.stride": (lambda v: v in (8, 16, 32), "8, 16 or 32"),
    "model.depth": _POSITIVE,
    "model.dilations": (lambda v: len(v) == 4, "four whole numbers, such as (1, 1, 2, 4)"),
    "model.remat": (
        lambda v: isinstance(v, bool) or v in POLICIES,
        "true or a policy: " + _POLICIES,
    ),
    "data.channels": _POSITIVE,
    "data.band_suffixes": (
        lambda v: all(isinstance(s, str) and s for s in v) and len(set(v)) == len(v),
        "the ends of files' names, each once, such as ('_B02', '_B03', '_B04')",
    ),
    "data.bits": (lambda v: v in (8, 16, 32), "8, 16 or 32"),
    "data.mean": (_are_numbers, "a number for each channel, as `python -m jaxseg check` prints"),
    "data.std": (
        lambda v: _are_numbers(v) and min(v) > 0,
        "a number above 0 for each channel, as `python -m jaxseg check` prints",
    ),
    "data.train_split": _SPLIT,
    "data.eval_split": _SPLIT,
    "data.scenes_train": _POSITIVE,
    "data.scenes_eval": _POSITIVE,
    "data.scenes_size": _SIZE,
    "data.ignore_label": (lambda v: 0 <= v <= 255, "a mask value, 0..255"),
    "data.colour_tolerance": (lambda v: 0 <= v <= 255, "a difference in a channel, 0..255"),
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
    "augment.vertical_flip": _PROBABILITY,
    "augment.quarter_turns": _PROBABILITY,
    "augment.noise": (lambda v: 0 <= v <= 1, "a share of the range of values, 0..1"),
    "augment.erase": _PROBABILITY,
    "augment.mix": _PROBABILITY,
    "augment.mix_classes": (
        lambda v: all(isinstance(name, str) for name in v),
        "class names, such as ('pole', 'sign')",
    ),
    "augment.max_class_share": (lambda v: 0 < v <= 1, "a share above 0, at most 1"),
    "augment.brightness": _NOT_NEGATIVE,
    "augment.contrast": _NOT_NEGATIVE,
    "augment.saturation": _NOT_NEGATIVE,
    "augment.hue": (lambda v: 0 <= v <= 0.5, "a fraction of a full turn, 0..0.5"),
    "augment.grayscale": _PROBABILITY,
    "train.steps": _POSITIVE,
    "train.batch_size": (
        lambda v: 0 <= v <= 2**16,
        "1 to 65536, or 0 for the largest batch that fits in memory",
    ),
    "train.max_minutes": _POSITIVE,
    "train.epochs": _POSITIVE,
    "train.patience": _POSITIVE,
    "train.fsdp": _POSITIVE,
    "train.space": _POSITIVE,
    "train.accumulate": _POSITIVE,
    "loss.smoothing": (lambda v: 0 <= v < 1, "a share of 0 or more, below 1"),
    "loss.gamma": _NOT_NEGATIVE,
    "loss.threshold": _PROBABILITY,
    "loss.share": _PROBABILITY,
    "loss.class_weights": (
        lambda v: (
            v in CLASS_WEIGHTS
            if isinstance(v, str)
            else all(_is_number(w) and w >= 0 for w in v) and any(v)
        ),
        "a tuple of weights of 0 or more, one for each class, or one of "
        + ", ".join(CLASS_WEIGHTS),
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
    "eval.fit": (_is_size, "a pair of positive whole numbers: (long side, short side)"),
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
    "log.profile": (
        lambda v: first_and_last(v) is not None,
        "the first and the last step, such as 10..14",
    ),
}
