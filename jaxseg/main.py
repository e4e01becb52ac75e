"""`python -m jaxseg.main --config C [--workdir W]`: the command `train`."""

import sys
from collections.abc import Sequence

from jaxseg.cli import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command `train` and returns its exit code."""
    return run(["train", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
