"""Files: reading whole, reading documents in batches, and writing so that nothing is ever half written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from gptbpe._core import atomic_write

Name = str | os.PathLike[str]

BLOCK_BYTES = 4 << 20
"""How much is read at once."""


def read(path: Name) -> bytes:
    """Return the contents of a file."""
    return Path(path).read_bytes()


def must_exist(paths: Iterable[Name]) -> None:
    """Raise the error that opening would raise later, before any work is done."""
    for path in paths:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))


def write_atomically(path: Name, data: bytes) -> None:
    """Write a file that appears whole or not at all, and that is on disk when this returns.

    The data goes to a temporary name in the same folder, is flushed, renamed over the target, and the folder
    is flushed too. A link is followed; a device (``/dev/stdout``) is written to as it is.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with target.open("wb") as device:  # a directory is refused here by the system
            device.write(data)
        return
    atomic_write(target, data)


def blocks(path: Name, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield a file's bytes in pieces of at most ``size``."""
    with Path(path).open("rb", buffering=0) as file:
        while block := file.read(size):
            yield block


def documents(path: Name, separator: str | None) -> Iterator[bytes]:
    """Yield the documents of a file: what lies between separators, and what follows the last one, if any."""
    if separator is None:
        yield read(path)
        return
    mark = separator.encode()
    if not mark:
        raise ValueError("the separator is empty; pass None for one document per file")
    rest = bytearray()
    for block in blocks(path):
        searched = max(0, len(rest) - len(mark) + 1)
        rest += block
        begin = 0
        while (end := rest.find(mark, max(begin, searched))) >= 0:
            yield bytes(rest[begin:end])
            begin = end + len(mark)
        del rest[:begin]
    if rest:
        yield bytes(rest)


def document_batches(
    paths: Iterable[Name], separator: str | None, batch_bytes: int = 16 << 20
) -> Iterator[list[bytes]]:
    """Yield lists of whole documents of about ``batch_bytes`` bytes together."""
    batch: list[bytes] = []
    size = 0
    for path in paths:
        for document in documents(path, separator):
            batch.append(document)
            size += len(document) + 64  # an empty document costs something too
            if size >= batch_bytes:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
