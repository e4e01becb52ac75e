"""Files with a limit on the number of bytes read."""

from typing import BinaryIO


class Bounded:
    """A file that allows reads of at most `most` bytes in total.

    Python's zipfile and tarfile read a table of contents of any length into memory; they accept
    this class in place of a file.

    Args:
      file: a seekable file.
      most: limit in bytes; may later be set to None for no limit.

    Raises:
      ValueError: a read exceeds the limit.
    """

    def __init__(self, file: BinaryIO, most: int):
        self._file = file
        self.most: int | None = most
        self.seek, self.tell = file.seek, file.tell

    def read(self, n: int = -1) -> bytes:
        """Reads up to `n` bytes; the whole rest of the file if `n` is negative."""
        if self.most is None:
            return self._file.read(n)
        if n < 0:
            here = self._file.tell()
            n = max(0, self._file.seek(0, 2) - here)
            self._file.seek(here)
        self.most -= n
        if self.most < 0:
            raise ValueError("its table of contents is too long")
        return self._file.read(n)

    def seekable(self) -> bool:
        """Returns True; zipfile asks for it."""
        return True
