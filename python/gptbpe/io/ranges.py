"""A part of a file, which is read like a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gptbpe.errors import TextError

__all__ = ["FileRange"]


@dataclass(frozen=True)
class FileRange:
    """Documents of a file from one place to another: of Parquet row groups, of other files bytes.

    Compressed files have no such places. A range must begin and end where documents do, which
    :func:`gptbpe.cluster.divide` sees to.
    """

    path: Path
    """The file on disk, whose name says of which kind it is."""
    start: int
    """The first byte or row group."""
    stop: int
    """The byte or row group after the last."""

    def __str__(self) -> str:
        """Name the place in errors."""
        unit = "row group" if self.path.suffix.lower() == ".parquet" else "byte"
        return f"{self.path} (from {unit} {self.start:,})"

    def blocks(self, block_bytes: int) -> Iterator[bytes]:
        """Yield the bytes of the range, so many at a time.

        Raises:
            TextError: the file ends before the range does.
        """
        with self.path.open("rb", buffering=0) as opened:
            opened.seek(self.start)
            left = self.stop - self.start
            while left:
                block = opened.read(min(left, block_bytes))
                if not block:
                    raise TextError(f"{self.path} has become shorter than {self.stop:,} bytes; plan again")
                left -= len(block)
                yield block
