"""`python -m jaxseg COMMAND`, installed as the script `jaxseg`."""

import sys
from collections.abc import Sequence

from jaxseg.cli import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; without `argv`, of this process's own words."""
    return run(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
