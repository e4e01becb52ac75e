"""Groups files with one band each into images, by the endings of their names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jaxseg.data.inside import BandFiles
from jaxseg.data.listing import PHOTO_SUFFIXES, Listing, Problem, files_by_stem, paired, stems_in
from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError


def parted(name: str, suffixes: Sequence[str]) -> tuple[str, str] | None:
    """The name of an image and the suffix of its band; None if the file is not a band.

    Args:
      name: file name without the last extension.
      suffixes: `config.data.band_suffixes`; the longest match is used.

    >>> parted("field_7_B02", ("_B02", "_B03")), parted("field_7", ("_B02", "_B03"))
    (('field_7', '_B02'), None)
    """
    fits = [suffix for suffix in suffixes if name.endswith(suffix)]
    suffix = max(fits, key=len, default="")
    bare = name.removesuffix(suffix)
    return (bare, suffix) if fits and bare and not bare.endswith("/") else None


def paired_in(
    info: DataInfo,
    photos: Path,
    masks: Path,
    mask_suffixes: Sequence[str],
    values: Mapping[int, int] | None = None,
    ending: str = "",
    bands: Sequence[str] = (),
) -> Listing:
    """Pairs the images below one folder with the masks of the same names below another.

    Args:
      info: the classes.
      photos, masks: the folders.
      mask_suffixes: as in `files_by_stem`.
      values: as in `read_mask`.
      ending: ending of the masks' names, before the extension.
      bands: endings of the names of an image's files, one per channel; empty: one file per image.

    Raises:
      InputError: no file is a band.
    """
    files = files_by_stem(photos, PHOTO_SUFFIXES, nested=True)
    labels = files_by_stem(masks, mask_suffixes, ending, nested=True)
    if not bands:
        listing = paired(info, files, labels, values, masks, photos)
        return replace(listing, notes=_on_subfolders(photos, [p.name for p in listing.pairs]))
    images, problems, incomplete = _grouped(photos, files, bands)
    whole = {name: paths for name, paths in labels.items() if name not in incomplete}
    listing = paired(info, images, whole, values, masks)
    return replace(listing, problems=[*problems, *listing.problems])


def _on_subfolders(folder: Path, names: Sequence[str]) -> list[str]:
    below = [name for name in names if "/" in name]
    if not below:
        return []
    return [f"{len(below):,} image(s) are in subfolders of {folder}, such as '{below[0]}'"]


def _grouped(
    folder: Path, files: Mapping[str, list[Path]], bands: Sequence[str]
) -> tuple[dict[str, list[BandFiles]], list[Problem], set[str]]:
    """The complete images by name, problems, and the names of incomplete images."""
    found: dict[str, dict[str, list[Path]]] = {}
    for stem, paths in files.items():
        if (parts := parted(stem, bands)) is not None:
            found.setdefault(parts[0], {})[parts[1]] = paths
    other = next((f for stem, f in stems_in(folder, True).items() if parted(stem, bands)), None)
    if not found and other is not None:
        raise InputError(
            f"{folder / other} has a format that is not supported.",
            "Convert the bands to TIFF, for example with gdal_translate IN.jp2 OUT.tif.",
        )
    if files and not found:
        raise InputError(
            f"No file in {folder} has a name that ends in {' or '.join(bands)}, such as "
            f"{next(iter(files.values()))[0].name}.",
            "Correct config.data.band_suffixes, or leave it at () for files that hold all bands.",
        )
    images, problems = {}, []
    for name, by_band in found.items():
        for paths in by_band.values():
            if len(paths) > 1:
                text = f"{paths[1]} is a second file of the band, beside {paths[0].name}."
                problems.append(Problem("duplicate", str(paths[1]), text, "Keep one of them."))
        problems += [
            no_band(folder / name, band, next(iter(by_band.values()))[0])
            for band in bands
            if band not in by_band
        ]
        if len(by_band) == len(bands):
            images[name] = [BandFiles(folder / name, tuple(by_band[band][0] for band in bands))]
    return images, problems, set(found) - set(images)


def bands_beside(
    photo: Path, files: Mapping[str, list[Path]], bands: Sequence[str]
) -> BandFiles | list[Problem]:
    """The bands of an image whose annotations name one of its files, or a preview.

    Args:
      photo: that file; a preview NAME.png is next to NAME_B02.tif.
      files: files of its folder, from `files_by_stem`.
      bands: endings of the names, one per channel.

    Returns:
      The bands, or a problem for each missing band.
    """
    parts = parted(photo.stem, bands)
    place = photo.with_name(parts[0] if parts else photo.stem)
    found = {band: files[place.name + band][0] for band in bands if place.name + band in files}
    if len(found) == len(bands):
        return BandFiles(place, tuple(found.values()))
    other = next(iter(found.values()), photo)
    return [no_band(place, band, other) for band in bands if band not in found]


def no_band(place: Path, band: str, other: Path) -> Problem:
    """The problem of an image without the band `band`; `other` is an existing band."""
    return Problem(
        "no band",
        f"{place}{band}",
        f"The image {place} lacks the band {band}: there is no file {place.name}{band}"
        f"{other.suffix} beside {other.name}.",
        "Add the file, or take the image and its mask away.",
    )
