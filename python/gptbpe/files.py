"""Files: reading whole, and writing so that nothing is ever half written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gptbpe._core import AtomicFile, atomic_write

Name = str | os.PathLike[str]


def read(path: Name) -> bytes:
    """Return the contents of a file."""
    return Path(path).read_bytes()


def spelled(name: Name | bytes) -> str:
    r"""Return a file's name as text of UTF-8; bytes of it that are none are spelled.

    >>> spelled(b"caf\xe9.txt")
    'caf\\xe9.txt'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


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


@contextmanager
def opened_atomically(path: Name) -> Iterator[Callable[[bytes], object]]:
    """Open a file for writing bit by bit; it appears with the end of the block, unless there is an error.

    What is said of :func:`write_atomically` holds here, too. Yields the function that writes.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with target.open("wb") as device:
            yield device.write
        return
    file = AtomicFile(target)
    try:
        yield file.write
        file.commit()
    finally:
        file.close()
