"""Requests that are refused: a status, what is wrong, and what to do."""

from collections.abc import Mapping

from jaxseg.errors import InputError


class Refused(Exception):
    """A request that gets no result.

    Args:
      status: of HTTP, 4xx or 503.
      error: what is wrong, and the fix.
      headers: of the answer.
    """

    def __init__(self, status: int, error: InputError, headers: Mapping[str, str] | None = None):
        super().__init__(str(error))
        self.status, self.error, self.headers = status, error, dict(headers or {})


def refused(status: int, problem: str, fix: str) -> Refused:
    """A refusal with these words."""
    return Refused(status, InputError(problem, fix))


def busy() -> Refused:
    """The refusal of a server that has enough to do."""
    error = InputError("The server is full.", "Try again in a second.")
    return Refused(503, error, {"Retry-After": "1"})
