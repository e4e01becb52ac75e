"""`python -m jaxseg COMMAND`, installed as the script `jaxseg`."""

import sys
from collections.abc import Sequence

from jaxseg.cli import run
from jaxseg.cli.huge_pages import restart_with_huge_pages


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; without `argv`, of this process's own words."""
    if argv is None:
        argv = sys.argv[1:]
        restart_with_huge_pages(argv)
    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
