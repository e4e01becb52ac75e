"""`python -m jaxseg.main --config C [--workdir W]`: the command `train`."""

import sys
from collections.abc import Sequence

try:
    from jaxseg.utils.standard_streams import open_closed_streams
    from jaxseg.utils.stopping import end_at_once_when_asked

    open_closed_streams()
    if __name__ == "__main__":
        end_at_once_when_asked(["train", *sys.argv[1:]])
    from jaxseg.cli import run
    from jaxseg.cli.huge_pages import restart_with_huge_pages
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(130)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command `train` and returns its exit code."""
    if argv is None:
        argv = sys.argv[1:]
        try:
            end_at_once_when_asked(["train", *argv])
            restart_with_huge_pages(["train", *argv])
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
    return run(["train", *argv])


if __name__ == "__main__":
    sys.exit(main())
