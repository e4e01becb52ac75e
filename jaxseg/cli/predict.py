"""`python -m jaxseg predict`: labels images."""

import argparse
import dataclasses
import functools
import pathlib
import sys
import urllib.parse
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from jaxseg.cli.config_options import scoring_values, split_overrides
from jaxseg.cli.json_output import Put, add_json, json_output
from jaxseg.cli.options import (
    add_network,
    check_network,
    embedded_network,
    embedded_row,
    open_network,
)
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError
from jaxseg.utils.access import reason, remedy_for
from jaxseg.utils.files import text_of
from jaxseg.utils.paths import given_path

_EXAMPLES = (
    "python -m jaxseg predict street.jpg",
    "python -m jaxseg predict --weights pspnet_r50_ade20k street.jpg https://example.org/room.jpg "
    "--out predictions",
    "python -m jaxseg predict --workdir runs/camvid street.jpg --out predictions",
    "python -m jaxseg predict --workdir runs/camvid photos 'more/**/*.png' --out predictions "
    "--overlay",
    "python -m jaxseg predict --weights networks/fcn8s street.jpg --out predictions "
    "--probabilities '--config.eval.input_size=(480, 640)'",
    "python -m jaxseg predict --workdir runs/fields scene.tif --geotiff --out labels",
    "find photos -name '*.jpg' | python -m jaxseg predict --workdir runs/camvid --list - --out out",
    "cat street.jpg | python -m jaxseg predict --workdir runs/camvid - --out predictions",
)

_MOST_BYTES = 2**27  # limit for an image from a URL


def main(argv: Sequence[str]) -> None:
    """Parses the options, labels the images, prints how many were labelled."""
    parser = Parser(
        "predict",
        "Labels images with a trained network, preprocessed as in the run's evaluation. For each\n"
        "image writes NAME.png (class indices with a palette), and once classes.png, the legend.\n"
        "If interrupted, run the same command to resume. A bad file does not stop the others.",
        _EXAMPLES,
    )
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="file, folder (with subfolders), quoted pattern, https URL, video, or - for an image "
        "on standard input",
    )
    add_network(parser)
    parser.add_argument(
        "--list", metavar="FILE", help="text file with more images, one per line; - for stdin"
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("predictions"),
        metavar="DIR",
        help="folder for the results (default: predictions)",
    )
    parser.add_argument(
        "--overlay",
        action=argparse.BooleanOptionalAction,
        help="also write NAME.overlay.jpg: the image with class colours (default: only with the "
        "built-in network)",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also write NAME.npz: probabilities, float32 [height, width, classes]",
    )
    parser.add_argument(
        "--geotiff",
        action="store_true",
        help="label GeoTIFFs of any size window by window, and write NAME.tif with the same "
        "transform and coordinate reference system (extra geo)",
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="with --geotiff: height and width of a window in pixels (default: 1024)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing results")
    parser.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="largest image that is processed whole (default: 8388608)",
    )
    parser.add_argument(
        "--config.eval.FIELD", metavar="VALUE", help="override a field of the run's evaluation"
    )
    add_json(parser)
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    if args.workdir is None and args.weights is None:
        args.weights = embedded_network()
        if args.overlay is None:
            args.overlay = not args.geotiff
    args.overlay = bool(args.overlay)
    check_network(args)
    if args.max_pixels is not None and args.max_pixels < 1:
        raise InputError(f"--max-pixels is {args.max_pixels}.", "Give 1 or more.")
    from jaxseg.data.listing import PHOTO_SUFFIXES

    if args.out.suffix.lower() in PHOTO_SUFFIXES and not args.out.is_dir():
        raise InputError(
            f"--out is {args.out}, which is the name of an image.",
            "Give a folder; it receives the labels of NAME.jpg as NAME.png.",
        )
    if args.geotiff and (args.overlay or args.probabilities or args.max_pixels):
        raise InputError(
            "--geotiff cannot be combined with --overlay, --probabilities or --max-pixels.",
            "Remove those options.",
        )
    if args.window is not None and not args.geotiff:
        raise InputError("--window works only with --geotiff.", "Add --geotiff, or remove it.")
    wanted, fields = _wanted(args), scoring_values(overrides)

    with json_output(args.json) as put:
        _predict(args, wanted, fields, put)


def _predict(args, wanted: Sequence[str], fields: Mapping[str, Any], put: Put) -> None:
    """Labels the images; `put` receives the counts and the problems."""
    import tqdm

    from jaxseg.inference.batch import MAX_PIXELS, predict_images
    from jaxseg.inference.image_files import STDIN, ImageFile, find_images
    from jaxseg.inference.prediction_folder import DESCRIPTION, UNUSED
    from jaxseg.inference.video import is_video, label_video

    # hides warnings about large images (their size is checked here) and damaged EXIF (ignored)
    warnings.filterwarnings("ignore", module="PIL")
    refused: list[InputError] = []
    films = [word for word in wanted if is_video(word)]
    paths = [w for w in wanted if w not in films and w != "-" and not _is_address(w)]
    files = find_images(paths, args.out, [DESCRIPTION], refused.append)
    for address in filter(_is_address, wanted):
        try:
            files.append(_fetched(address))
        except InputError as error:
            refused.append(error)
    if len(refused) == 1 and not files and "-" not in wanted:
        raise refused[0]
    for one in refused:
        print(one.problem)
    if "-" in wanted:
        data = _stdin()
        files.append(ImageFile(STDIN, pathlib.Path("standard input"), data))
    network = _changed(open_network(args), fields, UNUSED)
    if args.weights is not None:
        print(f"network: {_named(args.weights)}, {_classes(network.classes)}")
    if network.bands:
        files = _by_bands(files, network.bands, refused)
    if args.geotiff:
        _label_scenes(args, network, files, put)
        if refused:
            raise refused[0]
        return

    def progress(items, total, unit="photo"):
        return tqdm.tqdm(items, total=total, unit=unit, disable=None)

    done = predict_images(
        network,
        files,
        args.out,
        overlay=args.overlay,
        probabilities=args.probabilities,
        overwrite=args.overwrite,
        max_pixels=args.max_pixels or MAX_PIXELS,
        progress=progress,
        say=lambda line: tqdm.tqdm.write(line, file=sys.stdout),
    )
    there = f", {done.kept} already done" if done.kept else ""
    noun = "image" if done.written == 1 else "images"
    if files or not films:
        print(f"{args.out}: {done.written} {noun} labelled{there}")
    bad = [*refused, *done.bad]
    frames = 0
    for film in films:
        path = args.out / f"{pathlib.Path(film).stem}.overlay.mp4"
        try:
            count = label_video(network, film, path, functools.partial(progress, unit="frame"))
        except InputError as error:
            bad.append(error)
            print(error.problem)
            continue
        frames += count
        print(f"{path}: {count} frames")
    put(
        {
            "folder": args.out,
            "written": done.written,
            "kept": done.kept,
            "frames": frames,
            "problems": [{"problem": error.problem, "fix": error.remedy} for error in bad],
        }
    )
    if len(bad) == 1:
        raise bad[0]
    if bad:
        given = len(files) + len(films) + len(refused)
        raise InputError(
            f"{len(bad)} of {given} images have no prediction, as listed above. The first problem: "
            f"{bad[0].problem}",
            f"{bad[0].remedy} Then run the same command again to label the rest.",
        )


def _by_bands(files, bands: Sequence[str], refused: list[InputError]):
    """Groups the files as images with separate bands; `refused` receives incomplete images."""
    from jaxseg.inference.image_files import by_bands

    found = by_bands(files, bands)
    if found.incomplete is not None:
        if not found.images:
            raise found.incomplete
        refused.append(found.incomplete)
        print(found.incomplete.problem)
    if found.others:
        names = ", ".join(str(file.path) for file in found.others[:3])
        more = ", ..." if len(found.others) > 3 else ""
        print(f"{len(found.others)} file(s) left out, which are no band: {names}{more}")
    return found.images


def _label_scenes(args, network, files, put: Put) -> None:
    """Labels GeoTIFFs; the first bad one ends the command."""
    import tqdm

    from jaxseg.inference.geotiff import WINDOW, label_scenes

    written, kept = label_scenes(
        network,
        files,
        args.out,
        window=WINDOW if args.window is None else args.window,
        overwrite=args.overwrite,
        progress=lambda items, total: tqdm.tqdm(items, total=total, unit="window", disable=None),
    )
    there = f", {kept} already done" if kept else ""
    print(f"{args.out}: {written} scene{'s' * (written != 1)} labelled{there}")
    put({"folder": args.out, "written": written, "kept": kept, "problems": []})


def _named(weights) -> str:
    """The name of a network in messages."""
    row = embedded_row(weights)
    if row is None:
        return str(weights)
    return f"{row.name} (built-in)" if row.permissive else f"{row.name} (built-in, {row.licence})"


def _classes(names: Sequence[str]) -> str:
    """
    >>> _classes(["sky", "road"])
    '2 classes: sky, road'
    """
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"{len(names)} classes: {shown}"


def _is_address(word: str) -> bool:
    return word.startswith(("http://", "https://"))


def _fetched(address: str):
    """Downloads the image at a URL.

    Raises:
      InputError: it cannot be downloaded, or is larger than the limit.
    """
    from jaxseg.inference.image_files import ImageFile
    from jaxseg.pretrained.zoo.cache import OFFLINE, is_offline
    from jaxseg.utils.download import read_url

    if is_offline():
        raise InputError(
            f"{address} cannot be downloaded, because {OFFLINE} is set.",
            "Give the file of the image instead.",
        )
    name = pathlib.PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).stem
    try:
        data = read_url(address, _MOST_BYTES)
    except OSError as error:
        raise InputError(
            f"{address} cannot be downloaded: {getattr(error, 'reason', None) or error}.",
            "Download the image yourself, and give the file.",
        ) from None
    return ImageFile(name or "image", pathlib.Path(name or "image"), data)


def _wanted(args) -> list[str]:
    """The images named by the command line and the list."""
    names = list(args.images)
    if args.list == "-" and "-" in names:
        raise InputError(
            "Standard input cannot be both an image and a list of images.", "Give only one -."
        )
    if args.list is not None:
        names += _listed(args.list)
    if not names:
        raise InputError(
            "No image is given.", "Give files, folders, patterns, URLs, - or --list FILE."
        )
    return names


def _listed(path: str) -> list[str]:
    try:
        data = _stdin() if path == "-" else given_path(path).read_bytes()
        text = text_of(data)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"The list {path} cannot be read: {reason(error)}.",
            remedy_for(error, "Give a text file with one path per line."),
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _changed(network, fields: Mapping[str, Any], unused: Sequence[str]):
    """The network with the fields of `config.eval` from the command line."""
    from jaxseg.config import default_config, score_otherwise

    config = default_config()
    config.eval = network.eval.copy_and_resolve_references()
    for name in fields:
        group, _, field = name.partition(".")
        if group != "eval" or field in unused:
            raise InputError(
                f"--config.{name} has no effect on predict.",
                "Give fields of config.eval that concern the images, such as eval.input_size.",
            )
    score_otherwise(config, fields)
    return dataclasses.replace(network, eval=config.eval)


def _stdin() -> bytes:
    """The content of standard input; a program that calls `run` may have replaced it by text."""
    binary = getattr(sys.stdin, "buffer", None)
    return sys.stdin.read().encode() if binary is None else binary.read()
