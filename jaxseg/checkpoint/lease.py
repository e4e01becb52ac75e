"""Leases: a reader asks the writing run not to remove the checkpoint that it is reading."""

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
_SECONDS = 600.0  # age at which a lease expires, because its reader must have died


@contextlib.contextmanager
def lease(folder: pathlib.Path, step: int) -> Iterator[None]:
    """Keeps the writing run from removing the checkpoint of `step` during the body.

    There are no leases in a folder without a running run, in one without write permission, or in a
    bucket. A reader must then try again if the checkpoint is removed.
    """
    who = f"{step}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    path = folder / _FOLDER / who
    if not is_bucket(folder):
        with contextlib.suppress(OSError):
            path.touch()  # fails if no run saves there
    try:
        yield
    finally:
        if not is_bucket(folder):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class Leased(policies.PreservationPolicy):
    """Preserves checkpoints with a lease."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def should_preserve(self, checkpoints: Sequence, *, context) -> list[bool]:
        """Whether each of Orbax's checkpoints has a lease."""
        steps = leased_steps(self._folder)
        return [checkpoint.step in steps for checkpoint in checkpoints]


def leased_steps(folder: pathlib.Path) -> set[int]:
    """The steps that have a lease."""
    steps = set()
    with contextlib.suppress(OSError):
        for path in (folder / _FOLDER).iterdir():
            found = re.match(r"(\d+)-", path.name)
            with contextlib.suppress(OSError):
                if found and time.time() - path.stat().st_mtime < _SECONDS:
                    steps.add(int(found[1]))
    return steps


def allow_leases(folder: pathlib.Path) -> None:
    """Called by the writing run; from now on readers can take leases."""
    (folder / _FOLDER).mkdir(parents=True, exist_ok=True)


def end_leases(folder: pathlib.Path) -> None:
    """Removes all leases, in a folder where no run saves any more."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)
