"""Errors for checkpoints that cannot be read."""

import contextlib
import functools
import json
import logging
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Iterator

import jax

from jaxseg.checkpoint.lock import running
from jaxseg.errors import InputError
from jaxseg.utils.access import check_readable
from jaxseg.utils.bucket import is_bucket

_FULL_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")
_REMOVAL_SECONDS = 3.0  # a run that is removing a checkpoint makes progress within this time


class DamagedCheckpoint(InputError):
    """A checkpoint differs from the one that was saved.

    Attributes:
      folder, step: location of the checkpoint.
      what: description of the damage.
    """

    def __init__(self, folder: pathlib.Path, step: int, what: str):
        super().__init__(
            f"The checkpoint of step {step} in {folder} is damaged: {what}.",
            "Copy it again from an undamaged one, or use another checkpoint.",
        )
        self.folder, self.step, self.what = folder, step, what

    def __reduce__(self):
        return type(self), (self.folder, self.step, self.what)


class RemovedCheckpoint(InputError):
    """A checkpoint is gone because its run has removed it."""

    def __init__(self, folder: pathlib.Path, step: int):
        super().__init__(
            f"The checkpoint of step {step} in {folder} was removed while it was being read.",
            "Try again, or give another step.",
        )
        self.folder, self.step = folder, step

    def __reduce__(self):
        return type(self), (self.folder, self.step)


@contextlib.contextmanager
def reading_step(folder: pathlib.Path, step: int) -> Iterator[None]:
    """Turns errors of the body, which reads a checkpoint, into an InputError.

    Raises:
      DamagedCheckpoint: the files are missing, truncated or changed.
      RemovedCheckpoint: the checkpoint no longer exists.
      InputError: this user has no permission to read it.
      Exception: JAX's own, if it has no device: nothing is known about the files then.
    """
    silence_leftovers()
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # errors of Orbax, TensorStore and JSON have no common base class
        text = str(error)
        if any(word in text for word in _FULL_MEMORY):
            raise
        jax.devices()  # raises JAX's own error if JAX_PLATFORMS names a missing device
        if _is_removed(folder, step):
            raise RemovedCheckpoint(folder, step) from None
        if not is_bucket(folder):
            check_readable(folder / str(step))
        raise DamagedCheckpoint(folder, step, _in_few_words(error)) from error


def _is_removed(folder: pathlib.Path, step: int) -> bool:
    """Whether a checkpoint is gone, or its run is removing it, file by file."""
    place = folder / str(step)
    files = _number_of_files(place)
    end = time.monotonic() + _REMOVAL_SECONDS
    while place.exists():
        alone = is_bucket(folder) or running(pathlib.Path(folder).parent) is None
        if alone or time.monotonic() > end:
            return _number_of_files(place) < files
        time.sleep(0.05)
    return True


def _number_of_files(place: pathlib.Path) -> int:
    return sum(len(files) for _, _, files in os.walk(place))


def _in_few_words(error: Exception) -> str:
    """A short description of an error, by its type or by TensorStore's error code."""
    if isinstance(error, FileNotFoundError):
        return f"a file is missing ({pathlib.Path(str(error.filename or '?')).name})"
    if isinstance(error, json.JSONDecodeError):
        return "a text file is truncated or changed"
    text = str(error)
    for code, words in (
        ("NOT_FOUND", "an array is missing"),
        ("OUT_OF_RANGE", "an array is truncated"),
        ("DATA_LOSS", "an array is truncated or changed"),
        ("FAILED_PRECONDITION", "an array is truncated or changed"),
        ("INVALID_ARGUMENT", "an array is truncated or changed"),
    ):
        if code in text:
            return words
    return f"it cannot be decoded ({type(error).__name__})"


@functools.cache
def silence_leftovers() -> None:
    """Silences errors of unfinished reads. If one array cannot be read, Orbax abandons the reads of
    the others; Python prints a traceback for each, some before the first error is caught."""
    before = sys.unraisablehook

    def hook(unraisable) -> None:
        if not _is_leftover(unraisable.object, unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook
    logging.getLogger("asyncio").addFilter(
        lambda record: (
            "orbax" not in record.getMessage()
            and not (record.exc_info and _is_leftover(None, record.exc_info[1]))
        )
    )


def _is_leftover(coroutine: object, error: BaseException | None) -> bool:
    files = [getattr(getattr(coroutine, "cr_code", None), "co_filename", "")]
    if error is not None:
        files += [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return "Event loop is closed" in str(error) or any("orbax" in name for name in files)
