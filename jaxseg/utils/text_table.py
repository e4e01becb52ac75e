"""Tables of text, for a terminal."""

from collections.abc import Container, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> list[str]:
    """The rows as lines, with columns as wide as their widest cell.

    Args:
      rows: rows with the same number of cells.
      right: indices of the right-aligned columns, such as numbers.

    >>> aligned([["name", "pixels"], ["sky", "9"]], right=(1,))
    ['name  pixels', 'sky        9']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
