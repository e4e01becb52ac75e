"""`python -m jaxseg.main --config C [--workdir W]`: the command `train`."""

import sys
from collections.abc import Sequence

from jaxseg.cli import run
from jaxseg.cli.huge_pages import restart_with_huge_pages
from jaxseg.cli.stopping import end_at_once_when_asked


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command `train` and returns its exit code."""
    if argv is None:
        argv = sys.argv[1:]
        end_at_once_when_asked(["train", *argv])
        restart_with_huge_pages(["train", *argv])
    return run(["train", *argv])


if __name__ == "__main__":
    sys.exit(main())
