"""Splits a data set by a hash of each name.

The hash of a name depends only on the name, so that added or removed files do not change the split
of others.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeVar

import ml_collections

from jaxseg.errors import InputError, nearest

DEFAULT = "8:2"
_SHARES = re.compile(r"\d+(\.\d+)?(:\d+(\.\d+)?){1,2}")
_FOLD = re.compile(r"(\d+)/(\d+)")
_Item = TypeVar("_Item")


def is_shares(text: str) -> bool:
    """Whether `text` is a valid `config.data.split`.

    >>> is_shares("8:2"), is_shares("70:15:15"), is_shares("0.8"), is_shares("0:0")
    (True, True, False, False)
    """
    return bool(_SHARES.fullmatch(text)) and sum(map(float, text.split(":"))) > 0


def is_fold(text: str) -> bool:
    """Whether `text` is a valid `config.data.fold`.

    >>> is_fold("0/5"), is_fold("5/5"), is_fold("0/1")
    (True, False, False)
    """
    match = _FOLD.fullmatch(text)
    return match is not None and int(match[1]) < int(match[2]) >= 2


def is_set(config: ml_collections.ConfigDict) -> bool:
    """Whether `config` (a run's `config.data`) requests a split by hashes."""
    return config.split is not None or config.fold is not None


def share_of(
    items: Sequence[_Item],
    name: Callable[[_Item], str],
    config: ml_collections.ConfigDict,
    split: str,
) -> list[_Item]:
    """The items of one split, in their order.

    Args:
      items: items of the whole data set.
      name: returns the name of an item.
      config: a run's `config.data`. `fold` "K/N" evaluates part K of N and trains on the others.
        Otherwise `split` has the shares of `train_split`, `eval_split` and, if there is a third,
        "test". With `group`, its match in a name is hashed instead of the name.
      split: name of the split.

    Raises:
      InputError: there is no such split, nothing is left for it, or a name has no group.
    """
    belongs, setting = _belongs(config, split)
    chosen = [item for item in items if belongs(hashed(name(item), config.group))]
    if items and not chosen:
        groups = len({_group(name(item), config.group) for item in items})
        raise InputError(
            f"{setting} leaves no images for the split '{split}': there are {len(items)} images"
            + (f" in {groups} groups." if config.group else "."),
            ("Leave this fold out, use fewer" if config.fold else "Give the split a larger share")
            + f", or write lists of names: {config.train_split}.txt and {config.eval_split}.txt.",
        )
    return chosen


def _belongs(config, split: str) -> tuple[Callable[[float], bool], str]:
    """Returns whether a hash belongs to the split, and the setting that decides it."""
    names = list(dict.fromkeys((config.train_split, config.eval_split)))
    if config.fold is not None:
        match = _FOLD.fullmatch(config.fold)
        if match is None or not is_fold(config.fold):
            raise InputError(
                f"config.data.fold is '{config.fold}'.", "Give K/N with K in 0..N-1, such as 0/5."
            )
        fold, of = int(match[1]), int(match[2])
        _check_known(split, names)
        scores = split == config.eval_split and split != config.train_split
        return lambda h: (int(h * of) == fold) == scores, f"config.data.fold='{config.fold}'"
    text = config.split or DEFAULT
    if not is_shares(text):
        raise InputError(
            f"config.data.split is '{text}'.",
            "Give the shares of training and evaluation, such as 8:2, or 8:1:1 with a test split.",
        )
    shares = [float(share) for share in text.split(":")]
    if len(shares) > 2:
        names.append("test")
    _check_known(split, names)
    ends = [end / sum(shares) for end in accumulate(shares)]
    place = names.index(split)
    begin, end = ends[place - 1] if place else 0.0, ends[place]
    return lambda h: begin <= h < end, f"config.data.split='{text}'"


def _check_known(split: str, names: Sequence[str]) -> None:
    if split not in names:
        raise InputError(f"There is no split '{split}'.", nearest(split, names))


def hashed(name: str, group: str | None = None) -> float:
    """A number in [0, 1) for a name, or for the match of the pattern `group` in it.

    >>> hashed("video1_0001", "video[0-9]+") == hashed("video1_0002", "video[0-9]+")
    True
    """
    key = unicodedata.normalize("NFC", _group(name, group)).encode()
    # 53 bits, the precision of a float, so that the result stays below 1
    return (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 11) / 2**53


def _group(name: str, pattern: str | None) -> str:
    if pattern is None:
        return name
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise InputError(
            f"config.data.group '{pattern}' is not a regular expression ({error}).",
            "Give one that matches the common part of the names in a group, such as '^[^_]+'.",
        ) from None
    if match is None:
        raise InputError(
            f"config.data.group '{pattern}' does not match the name '{name}'.",
            "Give a pattern that matches the common part of the names in a group, such as "
            "'^[^_]+'.",
        )
    return match[1] if match.re.groups and match[1] is not None else match[0]
