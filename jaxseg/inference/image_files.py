"""Finds image files by paths, folders and patterns, and gives each a name."""

import glob
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from jaxseg.data.band_files import parted
from jaxseg.data.inside import BandFiles
from jaxseg.data.listing import PHOTO_SUFFIXES
from jaxseg.errors import InputError
from jaxseg.utils.files import is_hidden, is_workdir, walk_files
from jaxseg.utils.paths import given_path

STDIN = "stdin"  # the name of an image from standard input


class ImageFile(NamedTuple):
    """A file that should contain an image; it is not read yet.

    Attributes:
      name: name of its results, without suffix; it may include a subfolder.
      path: the file, the files of its bands, or a name for messages.
      data: its content, if it does not come from a file.
    """

    name: str
    path: pathlib.Path | BandFiles
    data: bytes | None = None


def find_images(
    words: Iterable[str],
    out: pathlib.Path,
    reserved: Sequence[str] = (),
    refuse: Callable[[InputError], None] | None = None,
) -> list[ImageFile]:
    """Finds the image files that `words` name, each once, in their order.

    A word is a file, a folder (all images in it and its subfolders), or a pattern with `*`, `?`,
    `[...]` or `**`. An image is named after its file, without the suffix; below a folder (or the
    fixed part of a pattern), the name includes the subfolders. A missing file is reported when it
    is read. In folders and patterns, hidden files, predictions and files of runs are left out.

    Args:
      words: as above, such as `["street.jpg", "photos", "more/**/*.png"]`.
      out: the folder for the results, which is not searched.
      reserved: names that no image may have.
      refuse: receives an error for each word without images, and for each image whose results have
        no path of their own; other images are still found. None: the first error is raised.

    Raises:
      InputError: without `refuse`: a folder or pattern without images, a URL, two images with one
        name, or results that would replace an image.
    """
    out = given_path(out).absolute()
    found: dict[pathlib.Path, ImageFile] = {}
    for word in words:
        try:
            files = _files(word, out)
        except InputError as error:
            if refuse is None:
                raise
            refuse(error)
            continue
        for root, path in files:
            name = path.relative_to(root).with_suffix("").as_posix()
            found.setdefault(path.absolute(), ImageFile(name, path))
    by_name: dict[str, ImageFile] = {}
    for full, file in found.items():
        collision = _no_place(full, file, by_name.get(file.name), out, reserved)
        if collision is None:
            by_name[file.name] = file
        elif refuse is None:
            raise collision
        else:
            refuse(collision)
    return list(by_name.values())


class ByBands(NamedTuple):
    """The files of images with separate bands.

    Attributes:
      images: the complete images, in the order of their first files.
      others: files that are not bands, if there are bands.
      incomplete: an error that lists the images with missing bands; None if all are complete.
    """

    images: list[ImageFile]
    others: list[ImageFile]
    incomplete: InputError | None


def by_bands(files: Iterable[ImageFile], bands: Sequence[str]) -> ByBands:
    """Groups the files of `find_images` by image; the files of an image are in one folder.

    Args:
      files: in any order. If none is a band, each file is an image with all bands.
      bands: endings of the names of the bands, in the order of the channels.
    """
    files, others = list(files), []
    found: dict[pathlib.Path, tuple[str, dict[str, pathlib.Path]]] = {}
    for file in files:
        parts = parted(file.name, bands)
        if parts is None or not isinstance(file.path, pathlib.Path) or file.data is not None:
            others.append(file)
            continue
        name, band = parts
        place = file.path.absolute().parent / pathlib.Path(name).name
        found.setdefault(place, (name, {}))[1].setdefault(band, file.path)
    if not found:
        return ByBands(files, [], None)
    images, lacking = [], []
    for name, by_band in found.values():
        missing = [band for band in bands if band not in by_band]
        if missing:
            lacking.append(f"{name} ({', '.join(missing)})")
            continue
        place = by_band[bands[0]].with_name(pathlib.Path(name).name)
        paths = tuple(by_band[band] for band in bands)
        images.append(ImageFile(name, BandFiles(place, paths)))
    return ByBands(images, others, _incomplete(lacking, bands) if lacking else None)


def _incomplete(lacking: Sequence[str], bands: Sequence[str]) -> InputError:
    what = f"{len(lacking)} images lack bands" if len(lacking) > 1 else "An image lacks bands"
    more = f" and {len(lacking) - 10} more" if len(lacking) > 10 else ""
    return InputError(
        f"{what}: {', '.join(lacking[:10])}{more}.",
        f"Give the files of all bands, NAME{', NAME'.join(bands)}, of an image in one folder.",
    )


def _no_place(
    full: pathlib.Path,
    file: ImageFile,
    other: ImageFile | None,
    out: pathlib.Path,
    reserved: Sequence[str],
) -> InputError | None:
    """The error if the results of `file` have no path of their own; `other` has the same name."""
    if other is not None:
        return InputError(
            f"The results of {other.path} and {file.path} would both be named {other.name}.",
            "Rename one of them, or give each a separate --out.",
        )
    if file.name in reserved:
        return InputError(
            f"The name of {file.path} is reserved for a file that describes the results.",
            "Rename it.",
        )
    if full.parent == (out / file.name).parent:
        return InputError(f"{file.path} is in the folder for the results.", "Give another --out.")
    return None


def _files(word: str, out: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """(root of its name, file) for each file that a word names."""
    path = given_path(word)

    def not_photos(folder: pathlib.Path) -> bool:
        return folder.absolute() == out or _is_result(folder)

    if path.is_dir():
        files = [
            file
            for file in walk_files(path, skip=not_photos)
            if file.suffix.lower() in PHOTO_SUFFIXES
        ]
        if not files:
            raise InputError(
                f"The folder {path} contains no images.",
                f"Give a folder with files that end in {', '.join(PHOTO_SUFFIXES)}.",
            )
        return [(path, file) for file in files]
    if not glob.has_magic(word) or path.exists():
        return [(path.parent, path)]
    fixed = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    root = pathlib.Path(*path.parts[:fixed])
    matches = map(pathlib.Path, sorted(glob.glob(str(path), recursive=True)))
    meant = [part for part in path.parts if is_hidden(part)]
    known: dict[pathlib.Path, bool] = {}

    def among_photos(file: pathlib.Path) -> bool:
        parts = file.relative_to(root).parts
        if any(is_hidden(part) and part not in meant for part in parts):
            return False
        for folder in list(file.parents)[: len(parts) - 1]:
            if folder not in known:
                known[folder] = not_photos(folder)
            if known[folder]:
                return False
        return out not in file.absolute().parents

    files = [m for m in matches if m.is_file() and among_photos(m)]
    if not files:
        raise InputError(f"No file matches {word}.", "Correct the pattern.")
    return [(root, file) for file in files]


def _is_result(folder: pathlib.Path) -> bool:
    """Whether jaxseg wrote the images in `folder`: predictions, or files of a run."""
    predictions = all((folder / name).is_file() for name in ("classes.json", "classes.png"))
    return predictions or is_workdir(folder)
