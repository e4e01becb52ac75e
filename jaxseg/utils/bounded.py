"""Files of which only so much is read."""

from typing import BinaryIO


class Bounded:
    """A file of which no more than `most` bytes are read, all calls together.

    Python's zipfile and tarfile read a list of contents of any length into memory; they take this
    in place of a file.

    Args:
      file: can be sought.
      most: bytes; may be set to None later on: as many as one likes.

    Raises:
      ValueError: at a read beyond `most`.
    """

    def __init__(self, file: BinaryIO, most: int):
        self._file = file
        self.most: int | None = most
        self.seek, self.tell = file.seek, file.tell

    def read(self, n: int = -1) -> bytes:
        """The next bytes: `n`, or as many as there are; all of them where `n` is negative."""
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
        """True, as zipfile asks."""
        return True
