"""Converts annotations to a listing, as for a folder of masks, with masks that are drawn."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import ml_collections

from jaxseg.data import splits
from jaxseg.data.band_files import bands_beside
from jaxseg.data.formats.classes import Classes, no_class, number_classes
from jaxseg.data.formats.drawing import Drawing
from jaxseg.data.formats.panoptic import Panoptic
from jaxseg.data.formats.shapes import Annotated, Annotations
from jaxseg.data.inside import BandFiles
from jaxseg.data.listing import PHOTO_SUFFIXES, Listing, Pair, Problem, files_by_stem
from jaxseg.data.lists import read_ids
from jaxseg.errors import InputError, nearest

Reader = Callable[[ml_collections.ConfigDict, Path, str], Annotations]


def annotated(read: Reader) -> Callable[[ml_collections.ConfigDict, Path, str], Listing]:
    """The function that lists a data set for `jaxseg.data.registry`, from its reader `read`."""

    def listing(config: ml_collections.ConfigDict, root: Path, split: str) -> Listing:
        if not root.is_dir():
            raise InputError(
                f"There is no folder {root}.", "Give the folder with the images and annotations."
            )
        found = read(config, root, split)
        # unlabelled pixels of a panoptic PNG are void by definition: nothing would be background
        is_panoptic = all(image.png is not None for image in found.images)
        usual = "ignore" if found.images and is_panoptic else "background"
        unlabelled = config.unlabelled or usual
        classes = number_classes(config, root, found, unlabelled)
        images, notes = _of_split(config, root, split, found)
        notes += found.notes
        if any(image.png is None for image in images):
            notes.append(
                "pixels outside all shapes are "
                f"{'ignored' if unlabelled == 'ignore' else 'background'} (config.data.unlabelled)"
            )
        problems = list(found.problems)
        folders: dict[Path, dict[str, list[Path]]] = {}
        pairs, empty, twice = [], 0, Counter(image.name for image in images)
        for image in images:
            bad = _problems(image, classes, twice[image.name] > 1)
            if config.band_suffixes:
                bad += _take_bands(image, config.band_suffixes, folders)
            if image.png is None and not image.shapes:
                empty += 1
                if config.unannotated == "error":
                    bad.append(unannotated(str(image.photo), image.file))
            problems += bad
            if not bad:
                mask = _mask(image, classes, config.overlap)
                pairs.append(Pair(image.name, image.photo, mask))
        if empty and config.unannotated != "error":
            notes.append(f"{empty} image(s) of split '{split}' have no shapes")
        unique = {(p.kind, p.text): p for p in problems}
        pairs.sort(key=lambda pair: pair.name)
        return Listing(classes.info, pairs, list(unique.values()), notes=notes)

    return listing


def _take_bands(image: Annotated, bands: Sequence[str], folders: dict) -> list[Problem]:
    """Replaces the photo of an image by its bands; `folders` caches the files of each folder."""
    if not isinstance(image.photo, Path):
        return []
    folder = image.photo.parent
    if folder not in folders:
        folders[folder] = files_by_stem(folder, PHOTO_SUFFIXES)
    found = bands_beside(image.photo, folders[folder], bands)
    if not isinstance(found, BandFiles):
        return found
    image.photo = found
    return []


def unannotated(photo: str, file: Path) -> Problem:
    """The problem of a photo without annotation."""
    return Problem(
        "unannotated",
        photo,
        f"{photo} has no annotation in {file}.",
        "Annotate it or remove it. If it shows no objects, set "
        "config.data.unannotated='background'.",
    )


def _of_split(
    config, root: Path, split: str, found: Annotations
) -> tuple[list[Annotated], list[str]]:
    if found.is_split:
        if splits.is_set(config):
            raise InputError(
                f"config.data.split or fold is set, but {root} has the split '{split}' already.",
                "Set both to None, or put all images and annotations into one split.",
            )
        return found.images, []
    path = root / f"{split}.txt"
    if path.is_file() and not splits.is_set(config):
        wanted, known = read_ids(path), {}
        for image in found.images:
            known[image.name] = known[Path(str(image.photo)).name] = image
        if (missing := next((w for w in wanted if w not in known), None)) is not None:
            raise InputError(
                f"{path} lists '{missing}', which has no annotations.", nearest(missing, known)
            )
        return [known[name] for name in dict.fromkeys(wanted)], []
    chosen = splits.share_of(found.images, lambda image: image.name, config, split)
    if splits.is_set(config):
        return chosen, []
    return chosen, [
        f"no list of images; split {splits.DEFAULT} by a hash of their names (config.data.split)"
    ]


def _problems(image: Annotated, classes: Classes, is_twice: bool) -> list[Problem]:
    names = dict.fromkeys([s.name for s in image.shapes] + list(image.segments.values()))
    problems = [no_class(n, image.file, classes.info) for n in names if n not in classes.numbers]
    if is_twice:
        problems.append(
            Problem(
                "listed twice",
                str(image.file),
                f"{image.file} lists the image '{image.name}' more than once.",
                "Keep one entry, with all annotations.",
            )
        )
    return problems


def _mask(image: Annotated, classes: Classes, overlap: str) -> Drawing | Panoptic:
    if image.png is not None:
        segments = {key: classes.numbers[name] for key, name in image.segments.items()}
        return Panoptic(image.file, image.png, segments)
    shapes = [(classes.numbers[s.name], s.region, s.crowd) for s in image.shapes]
    return Drawing(image.file, image.photo, image.size, tuple(shapes), classes.unlabelled, overlap)
