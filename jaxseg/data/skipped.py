"""Examples that a run skips because their files are bad."""

from collections.abc import Callable

from jaxseg.errors import InputError


class Skipped:
    """Reports and counts each bad file of a run once.

    Args:
      limit: number of bad files that a run tolerates, 0 or above.
      tell: receives a line for each.

    >>> skipped = Skipped(1, tell=print)
    >>> skipped.add(InputError("a.png cannot be decoded.", "Replace it."))
    skipped: a.png cannot be decoded.
    >>> skipped.add(InputError("b.png cannot be decoded.", "Replace it."))
    Traceback (most recent call last):
    jaxseg.errors.InputError: 2 files are bad, but data.skip_limit allows 1. ...
    """

    def __init__(self, limit: int, tell: Callable[[str], None]):
        self.limit = limit
        self.problems: list[str] = []
        self._tell = tell

    def add(self, error: InputError) -> None:
        """Counts the file of `error`, unless it was counted before.

        Raises:
          InputError: there are more than `limit`.
        """
        if error.problem in self.problems:
            return
        self.problems.append(error.problem)
        if len(self.problems) > self.limit:
            raise InputError(
                f"{len(self.problems)} files are bad, but data.skip_limit allows {self.limit}. "
                f"The last problem: {error.problem}",
                "Fix the files, which `python -m jaxseg check` lists, or raise data.skip_limit.",
            )
        self._tell(f"skipped: {error.problem}")

    def summary(self) -> str:
        """A list of all skipped files, one per line; empty if there are none."""
        if not self.problems:
            return ""
        return "\n  ".join([f"{len(self.problems)} bad file(s) skipped:", *self.problems])
