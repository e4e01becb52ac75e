"""CVAT XML, "CVAT for video 1.1": tracks, with a shape on every frame where they are visible.

Frames are image files whose names end in the frame number, as in CVAT's own exports
(images/frame_000012.PNG).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from jaxseg.data.formats.shapes import Annotated, Annotations, Shape, problem_of, reading, size_of
from jaxseg.data.listing import PHOTO_SUFFIXES, Problem
from jaxseg.errors import InputError
from jaxseg.utils.files import walk_files

_EXPORT = "Export the task again, as 'CVAT for video 1.1'."
_FRAMES = (
    "Export the task with its images, or write the frames of the video: "
    "ffmpeg -i VIDEO -start_number 0 images/frame_%06d.png"
)
_NUMBER = re.compile(r"(\d+)$")

ShapeOf = Callable[[ElementTree.Element, tuple[int, int] | None, str], Shape]


def read_video(
    tree: ElementTree.Element,
    file: Path,
    folders: Iterable[Path],
    kinds: Sequence[str],
    shape: ShapeOf,
    found: Annotations,
) -> None:
    """Adds the frames of a video and their shapes to `found`.

    Args:
      tree: root of the XML file.
      file: path of the file, for messages.
      folders: folders that may contain the frames; the first one with frames is used.
      kinds: tags of the shapes in a track; other elements are left out.
      shape: converts such an element to a shape, given the size of the frame.
      found: receives images and problems. A frame without shapes is an image without shapes.

    Raises:
      InputError: there are no frames, or the file contains several tasks.
    """
    if len(tree.findall("meta/project/tasks/task")) > 1:
        raise InputError(
            f"{file} contains several tasks, whose frames have the same numbers.",
            "Export each task separately, into a folder of its own.",
        )
    folder, frames = _frames(folders, found)
    if not frames:
        raise InputError(f"{file} is CVAT for video, and its frames are missing.", _FRAMES)
    with reading(str(file), _EXPORT):
        original = tree.find(".//original_size")
        size = None
        if original is not None:
            size = size_of(original.findtext("width"), original.findtext("height"))
        first, last = (tree.findtext(f".//{name}_frame") for name in ("start", "stop"))
        shown = range(int(first or 0), int(last or max(frames)) + 1)
    shapes: dict[int, list[tuple[int, Shape]]] = {n: [] for n in frames if n in shown}
    for number, track in enumerate(tree.findall("track")):
        where = f"Track {track.get('id', number)} of {file}"
        try:
            with reading(where, _EXPORT):
                _add_track(track, kinds, where, size, frames, shapes, shape)
        except InputError as error:
            found.problems.append(problem_of("annotation", file, error))
    for frame, placed in sorted(shapes.items()):
        photo = frames[frame]
        name = photo.relative_to(folder).with_suffix("").as_posix()
        lowest_first = [s for _, s in sorted(placed, key=lambda one: one[0])]
        found.images.append(Annotated(name, photo, file, size, lowest_first))


def _frames(folders: Iterable[Path], found: Annotations) -> tuple[Path, dict[int, Path]]:
    """The first folder with frames, and the frames by number."""
    folder, frames = Path(), dict[int, Path]()
    for folder in folders:
        for path in walk_files(folder):
            match = _NUMBER.search(path.stem)
            if path.suffix.lower() not in PHOTO_SUFFIXES or match is None:
                continue
            if (other := frames.setdefault(int(match[1]), path)) != path:
                text = f"{path} and {other} are both frame {int(match[1])} of a video."
                remedy = "Keep the frames of only one video in the folder."
                found.problems.append(Problem("frame", str(path), text, remedy))
        if frames:
            break
    return folder, frames


def _add_track(track, kinds, where: str, size, frames, shapes, shape: ShapeOf) -> None:
    """Adds the shapes of a track to those of the frames."""
    before = None  # last frame, if the track was visible there
    by_frame = {int(e.attrib["frame"]): e for e in track if e.tag in kinds}
    for frame, entry in sorted(by_frame.items()):
        gap = range(before + 1, frame) if before is not None else ()
        if any(n in shapes for n in gap):
            raise InputError(
                f"{where} has no shape on the frames between {before} and {frame}.", _EXPORT
            )
        is_outside = entry.get("outside") == "1"
        before = None if is_outside else frame
        if is_outside:
            continue
        if frame not in frames:
            raise InputError(
                f"{where} has a shape on frame {frame}, but no image name ends in that number.",
                _FRAMES,
            )
        if frame in shapes:
            entry.set("label", track.attrib["label"])
            made = shape(entry, size, f"{where}, frame {frame} ({entry.tag}),")
            shapes[frame].append((int(entry.get("z_order", 0)), made))
