"""Leases: a reader asks the run that is writing not to remove the checkpoint that it reads."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Sequence

from orbax.checkpoint import checkpoint_managers as policies

from jaxseg.utils.bucket import is_bucket

_FOLDER = ".reading"
_SECONDS = 600.0  # after which a reader is taken for dead


@contextlib.contextmanager
def lease(folder: pathlib.Path, step: int) -> Iterator[None]:
    """The run that saves in `folder` keeps the checkpoint of `step` while the body reads it.

    A folder in which no run saves, that may not be written to or that lies in a bucket, has no
    leases: there a reader has to try again where the checkpoint is removed.
    """
    who = f"{step}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    path = folder / _FOLDER / who
    if not is_bucket(folder):
        with contextlib.suppress(OSError):
            path.touch()  # fails where no run saves
    try:
        yield
    finally:
        if not is_bucket(folder):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class Leased(policies.PreservationPolicy):
    """Keeps the checkpoints that somebody reads."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def should_preserve(self, checkpoints: Sequence, *, context) -> list[bool]:
        """Whether each of Orbax's checkpoints has a lease."""
        steps = leased_steps(self._folder)
        return [checkpoint.step in steps for checkpoint in checkpoints]


def leased_steps(folder: pathlib.Path) -> set[int]:
    """The steps that somebody reads now."""
    steps = set()
    with contextlib.suppress(OSError):
        for path in (folder / _FOLDER).iterdir():
            found = re.match(r"(\d+)-", path.name)
            with contextlib.suppress(OSError):
                if found and time.time() - path.stat().st_mtime < _SECONDS:
                    steps.add(int(found[1]))
    return steps


def allow_leases(folder: pathlib.Path) -> None:
    """To be called by the run that saves: readers may ask it from now on."""
    (folder / _FOLDER).mkdir(parents=True, exist_ok=True)


def end_leases(folder: pathlib.Path) -> None:
    """Removes all leases; for a folder that no run saves in any more."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)
