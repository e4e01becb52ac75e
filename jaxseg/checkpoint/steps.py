"""Lists the checkpoints in a folder by file names, without importing Orbax."""

import pathlib
import re

from jaxseg.checkpoint.lock import running
from jaxseg.errors import InputError
from jaxseg.utils.access import check_readable
from jaxseg.utils.bucket import is_bucket, reaching
from jaxseg.utils.json_files import read_object

COMPARED_FROM = "compared_from"
"""Key of a saved position: the step up to which mean IoUs are of other images."""


def whole_steps(folder: pathlib.Path) -> list[int]:
    """The steps of complete checkpoints in `folder`, sorted; unfinished ones are left out.

    Raises:
      InputError: the folder is in a bucket that cannot be reached, or is closed to this user.
    """
    if not is_bucket(folder):
        check_readable(folder, depth=2)
    with reaching(folder):
        found = [p for p in folder.glob("*") if re.fullmatch(r"\d+", p.name)]
        return sorted(int(p.name) for p in found if not missing_files(p))


def missing_files(place: pathlib.Path) -> list[str]:
    """The files that the checkpoint in the folder `place` lacks; none if it is complete."""
    parts = ["_CHECKPOINT_METADATA", "state/_METADATA", "position/metadata"]
    if is_bucket(place):
        parts.append("commit_success.txt")
    return [part for part in parts if not (place / part).is_file()]


def find_step(folder: pathlib.Path, which: str | int) -> int:
    """Returns the step for "last", "best" or a number.

    "best" is the newest checkpoint with the highest mean IoU, or the last one if none has a mean
    IoU. Checkpoints before a change of the evaluation set do not count.

    Raises:
      InputError: there is no such checkpoint; the message lists the existing ones.
    """
    steps = whole_steps(folder)
    if not steps:
        who = None if is_bucket(folder) else running(folder.parent)
        if who is not None:
            raise InputError(
                f"{folder} contains no checkpoint yet: its run, {who}, has not saved one.",
                "Wait for the first one; config.checkpoint.every_steps of the run sets when.",
            )
        raise InputError(
            f"{folder} contains no checkpoint.", "Train first, or give another workdir."
        )
    if which == "last":
        return steps[-1]
    if which == "best":
        with reaching(folder):
            since = saved_position(folder, steps[-1]).get(COMPARED_FROM, 0)
            scored = {step: saved_mean_iou(folder, step) for step in steps if step > since}
        return max(steps, key=lambda s: (-1 if scored.get(s) is None else scored[s], s))
    if re.fullmatch(r"\d+", str(which)) and int(which) in steps:
        return int(which)
    raise InputError(
        f"There is no checkpoint '{which}'.",
        f"Choose last, best, or one of {', '.join(map(str, steps))}.",
    )


def saved_position(folder: pathlib.Path, step: int) -> dict[str, int]:
    """The integers of the data position saved with a checkpoint; empty if it is damaged."""
    try:
        saved = read_object(folder / str(step) / "position/metadata")
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in saved.items() if isinstance(value, int)}


def saved_mean_iou(folder: pathlib.Path, step: int) -> float | None:
    """The mean IoU saved with a checkpoint; None if there is none."""
    try:
        metrics = read_object(folder / str(step) / "metrics/metrics")
        value = float(metrics["mean_iou"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if value >= 0 else None  # not NaN
