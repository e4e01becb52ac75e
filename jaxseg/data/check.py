"""Finds all problems of a data set at once; training would stop at the first."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from jaxseg.data import upright
from jaxseg.data.counts import present_values, value_counts
from jaxseg.data.frequencies import Frequencies
from jaxseg.data.image_file import large_alone
from jaxseg.data.images import decode_image
from jaxseg.data.listing import Pair, Pairs, Problem
from jaxseg.data.mask_palettes import Palettes
from jaxseg.data.masks import decode_mask, palette_of, to_classes
from jaxseg.data.moments import Moments
from jaxseg.data.pairs import size_mismatch
from jaxseg.data.prepared import located
from jaxseg.data.registry import (
    IN_FOLDERS,
    PUBLISHED_NAMES,
    is_prepared,
    list_data,
    open_data,
)
from jaxseg.data.source import DataInfo, Source
from jaxseg.errors import InputError

_SAY = "Change the field or the files if this is not what you want."


@dataclass
class Report:
    """The findings of `check_data`."""

    info: DataInfo
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)  # unusual findings that may be intended
    splits: dict[str, Frequencies] = field(default_factory=dict)  # the training split first
    channels: Moments | None = None  # statistics of the training images

    def as_dict(self) -> dict[str, Any]:
        """The report as a dict for JSON."""
        names = self.info.class_names
        return {
            "data_set": self.info.name,
            "problems": [asdict(p) for p in self.problems],
            "notes": [asdict(p) for p in self.notes],
            "channels": self.channels
            and {"mean": _digits(self.channels.mean), "std": _digits(self.channels.std)},
            "splits": {
                split: {
                    "images": counts.images,
                    "ignored_pixels": counts.ignored,
                    "pixels": dict(zip(names, counts.pixels.tolist(), strict=True)),
                    "median_frequency_weights": counts.median_frequency(),
                    "enet_weights": counts.enet(),
                }
                for split, counts in self.splits.items()
            },
        }


def check_data(
    config: ml_collections.ConfigDict,
    splits: Sequence[str] = (),
    seed: int = 0,
    threads: int = 8,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> Report:
    """Reads every file of a data set and reports all problems.

    Args:
      config: a run's `config.data`.
      splits: names of the splits; empty: the two of the config, or "train" and "eval" for generated
        scenes.
      seed: seed of generated scenes.
      threads: number of files read at a time.
      progress: wraps the examples while they are read, given their number.

    Raises:
      InputError: no split can be opened.
    """
    if threads < 1:
        raise InputError(f"The number of threads is {threads}.", "Give 1 or more.")
    report: Report | None = None
    first: InputError | None = None
    opened: list[_Opened] = []
    for split in splits or _default_splits(config):
        try:
            source, problems = _open(config, split, seed)
        except InputError as error:
            first = first or error
            problem = Problem("split", split, error.problem, error.remedy)
            opened.append(_Opened(split, None, [problem]))
            continue
        report = report or Report(source.info)
        for note in getattr(source, "notes", ()):
            text = f"Split '{split}': {note}."
            report.notes.append(Problem("chosen", split, text, _SAY))
        opened.append(_Opened(split, source, problems))
    if report is None:
        assert first is not None
        raise first
    jobs = [(o.source, i) for o in opened if o.source for i in range(len(o.source))]
    seen: dict[bytes, tuple[str, str]] = {}
    stored: set[int] = set()
    palettes = Palettes()
    pool = ThreadPoolExecutor(threads)
    try:
        findings = iter(progress(pool.map(lambda job: _examine(*job), jobs), len(jobs)))
        for number, one in enumerate(opened):
            _check_split(report, one, findings, seen, stored, palettes, is_training=number == 0)
        for _ in findings:  # finishes the progress display
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    _binary(report, stored)
    if (conflict := palettes.conflict) is not None:
        problem = Problem("palette", report.info.name, conflict.problem, conflict.remedy)
        report.problems.append(problem)
    return report


class _Opened(NamedTuple):
    name: str
    source: Source | None  # None: the split cannot be opened
    problems: list[Problem]


@dataclass
class _Finding:
    """The findings for one example."""

    name: str
    file: str
    problems: list[Problem]
    digest: bytes | None = None  # hash of the photo's pixels
    channels: Moments | None = None  # statistics of the photo
    label_counts: np.ndarray | None = None  # int [256]: number of pixels of each class
    stored: frozenset[int] = frozenset()  # values in the mask's file
    mask: str = ""  # path of the mask's file
    palette: np.ndarray | None = None  # palette of the mask's file


def _check_split(
    report: Report,
    split: _Opened,
    findings: Iterator[_Finding],
    seen: dict,
    stored: set[int],
    palettes: Palettes,
    is_training: bool,
) -> None:
    """Adds the findings of one split to `report`; the other arguments span all splits."""
    report.problems += split.problems
    if split.source is None:
        return
    counts = report.splits[split.name] = Frequencies(report.info.num_classes)
    for _ in range(len(split.source)):
        finding = next(findings)
        report.problems += finding.problems
        if finding.label_counts is not None:
            counts.add_counts(finding.label_counts)
            stored |= finding.stored
        if is_training and finding.channels is not None:
            before = report.channels
            report.channels = before.plus(finding.channels) if before else finding.channels
        palettes.add(finding.mask, sorted(finding.stored), finding.palette)
        _same_photo(report, seen, split.name, finding)
    if not len(split.source) and not split.problems:
        text = f"Split '{split.name}' is empty."
        report.problems.append(Problem("split", split.name, text, "Add at least one example."))
    _absent_classes(report, split.name, counts, is_training)
    _size_of_split(report, split.name, len(split.source))


def _default_splits(config) -> tuple[str, ...]:
    if config.name == "scenes":
        return ("train", "eval")
    return tuple(dict.fromkeys((config.train_split, config.eval_split)))


def _open(config, split: str, seed: int) -> tuple[Source, list[Problem]]:
    """The split without incomplete examples, and the problems of its listing."""
    config = located(config, PUBLISHED_NAMES)
    if config.name in IN_FOLDERS and not is_prepared(config):
        listing = list_data(config, split)
        return Pairs(listing, strict=False), list(listing.problems)
    config = ml_collections.ConfigDict(config).copy_and_resolve_references()
    if config.name != "scenes":
        config.train_split = split
        split = "train"
    config.cache = False
    return open_data(config, split, seed), []


def _examine(source: Source, index: int) -> _Finding:
    with large_alone():
        if isinstance(source, Pairs):
            return _examine_pair(source, source.pairs[index])
        return _examine_example(source, index)


def _examine_example(source: Source, index: int) -> _Finding:
    name = source.name(index)
    try:
        image, label, _ = source[index]
    except InputError as error:
        return _Finding(name, name, [Problem("example", name, error.problem, error.remedy)])
    finding = _Finding(name, name, [], _digest(image), Moments.of(image))
    _count(finding, label)
    return finding


def _examine_pair(source: Pairs, pair: Pair) -> _Finding:
    """Examines photo and mask separately, so that one bad file does not hide the other."""
    finding = _Finding(pair.name, str(pair.photo), [])
    photo = label = None
    try:
        photo = decode_image(pair.photo, kind=source.kind)
        finding.channels = Moments.of(photo.pixels)
        finding.digest = _digest(upright.stored(*photo))  # also finds copies without EXIF
    except InputError as error:
        _add(finding, "photo", pair.photo, error)
    try:
        mask = decode_mask(pair.mask, colours=source.colours)
        stored = mask.pixels
        if photo is not None:
            try:
                frame = upright.Frame(photo.pixels.shape[:2], photo.orientation)
                stored = upright.aligned_mask(frame, mask, source.exif, pair.photo, pair.mask)
            except InputError as error:
                _add(finding, "exif", pair.photo, error)
        finding.stored = frozenset(present_values(stored))
        finding.mask, finding.palette = str(pair.mask), palette_of(pair.mask)
    except InputError as error:
        _add(finding, "mask", pair.mask, error)
    else:
        try:
            label = to_classes(stored, pair.mask, source.info.num_classes, source.values)
        except InputError as error:
            _add(finding, "values", pair.mask, error)
        if photo is not None and photo.pixels.shape[:2] != stored.shape:
            mismatch = size_mismatch(pair.photo, photo.pixels, pair.mask, stored)
            _add(finding, "size", pair.photo, mismatch)
    if label is not None:
        _count(finding, label, str(pair.mask))
    return finding


def _digits(numbers: np.ndarray) -> list[float]:
    """Rounds to five digits, more than a network is sensitive to."""
    return [float(f"{number:.5g}") for number in numbers]


def _add(finding: _Finding, kind: str, file, error: InputError) -> None:
    finding.problems.append(Problem(kind, str(file), error.problem, error.remedy))


def _count(finding: _Finding, label: np.ndarray, file: str | None = None) -> None:
    finding.label_counts = value_counts(label)
    if finding.label_counts[255] == label.size:
        file = file or finding.file
        finding.problems.append(
            Problem(
                "all ignored",
                file,
                f"Every pixel of mask {file} is ignored.",
                "Label it or remove it: it counts neither in training nor in evaluation.",
            )
        )


def _digest(image: np.ndarray) -> bytes:
    """A hash of the pixels, which finds copies with another file name, format or metadata."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def _same_photo(report: Report, seen: dict, split: str, finding: _Finding) -> None:
    if finding.digest is None:
        return
    other_split, other = seen.setdefault(finding.digest, (split, finding.file))
    if other_split != split:
        report.problems.append(
            Problem(
                "leakage",
                finding.file,
                f"Image {finding.file} of split '{split}' is also in split '{other_split}': "
                f"{other}.",
                "Remove it from one of them; otherwise the metrics are too high.",
            )
        )
    elif other != finding.file:
        report.problems.append(
            Problem(
                "same photo",
                finding.file,
                f"Image {finding.file} has the same pixels as {other}.",
                "Keep one of them.",
            )
        )


def _absent_classes(report: Report, split: str, counts: Frequencies, is_training: bool) -> None:
    if not counts.images:
        return
    for name, pixels in zip(report.info.class_names, counts.pixels, strict=True):
        if not pixels:
            found = Problem(
                "absent class",
                split,
                f"Class '{name}' never occurs in split '{split}'.",
                "Check the order of the classes, and whether the class was labelled at all.",
            )
            (report.problems if is_training else report.notes).append(found)


def _size_of_split(report: Report, split: str, count: int) -> None:
    published = report.info.splits.get(split, count)
    if published != count:
        report.notes.append(
            Problem(
                "size of split",
                split,
                f"Split '{split}' has {count:,} complete examples, but the published one has "
                f"{published:,}.",
                "Check that every archive was unpacked completely.",
            )
        )


def _binary(report: Report, stored: set[int]) -> None:
    second = sum(int(counts.pixels[-1]) for counts in report.splits.values())
    if report.info.num_classes == 2 and stored == {0, 255} and not second:
        report.problems.append(
            Problem(
                "binary masks",
                report.info.name,
                "The masks contain only 0 and 255, and 255 means ignore.",
                "If 255 is the second class, set config.data.mask_values='binary'.",
            )
        )
