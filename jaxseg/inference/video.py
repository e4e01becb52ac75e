"""Labels a video frame by frame, as a video in the colours of the classes (extra `video`)."""

import importlib.util
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxseg.data.not_images import VIDEOS
from jaxseg.errors import InputError
from jaxseg.inference.network import Network
from jaxseg.utils.access import reason
from jaxseg.utils.atomic import atomic_file
from jaxseg.visualization.palette import overlay

_QUALITY = {"crf": "20"}  # of H.264: visually close to lossless
_CODECS = (("libx264", _QUALITY), ("mpeg4", {}))  # the first one available in PyAV is used


def label_video(
    network: Network,
    path: str | os.PathLike,
    out: str | os.PathLike,
    progress: Callable[[Iterable[Any], int | None], Iterable[Any]] = lambda frames, _: frames,
) -> int:
    """Writes `out`, the video with each frame coloured by the network; keeps one frame in memory.

    Frames are upright, and padded to even height and width by repeating a row or column. The frame
    rate is that of the video. Sound is dropped.

    Args:
      network: the network.
      path: the video, in any format that FFmpeg reads.
      out: an `.mp4` file to write; it appears when it is complete.
      progress: wraps the frames, given their number, or None if unknown.

    Returns:
      The number of frames.

    Raises:
      InputError: PyAV is not installed, the file is not a video or is damaged, or the network does
        not support its size.
    """
    if importlib.util.find_spec("av") is None:
        raise InputError(
            f"{path} is a video, but the package av is not installed.",
            "Run pip install 'jaxseg[video]', or split it into images: ffmpeg -i VIDEO "
            "frames/%05d.png",
        )
    import av

    path, out = pathlib.Path(path), pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with av.open(str(path)) as video:
            if not video.streams.video:
                raise _no_video(path, "it has no video stream")
            stream = video.streams.video[0]
            stream.thread_type = "AUTO"
            rate = stream.average_rate or stream.guessed_rate or 25
            with atomic_file(out) as file, av.open(file, "w", format="mp4") as written:
                target = None
                for frame in progress(video.decode(stream), stream.frames or None):
                    image = _upright(frame)
                    shown = _even(overlay(image, network.predict(image), network.info))
                    if target is None:
                        target = _stream(written, rate, shown.shape)
                    elif shown.shape[:2] != (target.height, target.width):
                        raise _no_video(
                            path, f"frame {count + 1} has a different size than the first"
                        )
                    for packet in target.encode(av.VideoFrame.from_ndarray(shown, "rgb24")):
                        written.mux(packet)
                    count += 1
                if target is None:
                    raise _no_video(path, "it has no frames")
                for packet in target.encode():
                    written.mux(packet)
    except av.FFmpegError as error:
        after = f" after frame {count}" if count else ""
        raise _no_video(path, f"{reason(error)}{after}") from None
    return count


def _upright(frame) -> np.ndarray:
    """uint8 [H, W, 3], rotated as by a player."""
    image = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90 % 4))


def _even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _stream(written, rate, shape: tuple[int, ...]):
    import av

    for codec, options in _CODECS:
        if codec in av.codecs_available:
            stream = written.add_stream(codec, rate=rate, options=options)
            stream.height, stream.width = shape[:2]
            stream.pix_fmt = "yuv420p"
            return stream
    raise InputError(
        "PyAV was built without H.264 and MPEG-4.", "Run pip install av; its wheel includes both."
    )


def _no_video(path: pathlib.Path, why: str) -> InputError:
    return InputError(
        f"{path} cannot be labelled as a video: {why}.",
        "Play it to check whether it is damaged, or split it into images: ffmpeg -i VIDEO "
        "frames/%05d.png",
    )


def is_video(path: str) -> bool:
    """Whether `path` is a file with a suffix of a video."""
    return path.lower().endswith(VIDEOS) and os.path.isfile(path)
