"""Errors of requests: a status, the problem, and the fix."""

from collections.abc import Mapping

from jaxseg.errors import InputError


class Refused(Exception):
    """A request that is rejected.

    Args:
      status: HTTP status, 4xx or 503.
      error: the problem and the fix.
      headers: headers of the response.
    """

    def __init__(self, status: int, error: InputError, headers: Mapping[str, str] | None = None):
        super().__init__(str(error))
        self.status, self.error, self.headers = status, error, dict(headers or {})


def refused(status: int, problem: str, fix: str) -> Refused:
    """Creates a `Refused` with this problem and fix."""
    return Refused(status, InputError(problem, fix))


def busy() -> Refused:
    """The error of a server at its limit."""
    error = InputError("The server is full.", "Try again in a second.")
    return Refused(503, error, {"Retry-After": "1"})
