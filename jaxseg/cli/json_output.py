"""`--json`: the result of a command as JSON, in addition to the readable output."""

import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError
from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.json_files import json_text
from jaxseg.utils.paths import given_path

Put = Callable[[Any], None]


def add_json(parser: Parser) -> None:
    """Adds --json."""
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE.json",
        help="also write the result as JSON; without FILE, JSON goes to standard output and the "
        "readable output to standard error",
    )


@contextlib.contextmanager
def json_output(where: str | None) -> Iterator[Put]:
    """Yields a function that takes the result; writes the result after the body.

    Args:
      where: the value of --json.

    Raises:
      InputError: the file's folder does not exist, or its name does not end in .json, so that it
        may be meant for another option.
    """
    results: list[Any] = []
    path = None if where in (None, "-") else _checked(where or "")
    out = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr) if where == "-" else contextlib.nullcontext():
            yield results.append
    finally:
        if results and where is not None:
            text = json_text(results[-1])
            if path is None:
                out.write(text)
            else:
                write_atomic(path, text)


def _checked(where: str) -> pathlib.Path:
    path = given_path(where)
    if path.suffix.lower() != ".json":
        raise InputError(
            f"--json is {str(where)!r}, which does not end in .json.",
            "Give --json FILE.json. For standard output put --json last, or write --json=-.",
        )
    if not path.absolute().parent.is_dir():
        raise InputError(
            f"--json is {where}, but its folder does not exist.",
            "Create the folder, or give another path.",
        )
    return path
