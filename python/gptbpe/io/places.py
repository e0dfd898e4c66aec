"""Reading and writing at a place of an open file, and second names for files, on every system.

Windows has neither ``pread`` nor ``pwrite``, and some file systems have no hard links. There, the place of
the file is moved, one thread at a time, and files are copied.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from pathlib import Path

__all__ = ["link_or_copy", "publish", "read_at", "read_into", "write_at"]

_lock = threading.Lock()
"""Held while the place of a file is moved. A forked process has one of its own."""

NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
NO_LINKS_ON_WINDOWS = {1, 17, 50, 1142}
"""ERROR_INVALID_FUNCTION, ERROR_NOT_SAME_DEVICE, ERROR_NOT_SUPPORTED, ERROR_TOO_MANY_LINKS."""


def read_at(file: int, count: int, start: int) -> bytes:
    """Return up to ``count`` bytes of a file from a place on; fewer at its end."""
    if hasattr(os, "pread"):
        return os.pread(file, count, start)
    with _lock:
        os.lseek(file, start, os.SEEK_SET)
        return os.read(file, count)


def read_into(file: int, buffer: memoryview, start: int) -> int:
    """Read from a place of a file into a buffer, and return how many bytes came; 0 at its end."""
    if hasattr(os, "preadv"):
        return os.preadv(file, [buffer], start)
    data = read_at(file, min(len(buffer), 1 << 20), start)
    buffer[: len(data)] = data
    return len(data)


def write_at(file: int, data: bytes, start: int) -> int:
    """Write at a place of a file, and return how many bytes were written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(file, data, start)
    with _lock:
        os.lseek(file, start, os.SEEK_SET)
        return os.write(file, data)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where that cannot be.

    Raises:
        FileExistsError: the name is taken. A copy has it from the beginning, before it is whole.
    """
    try:
        if hasattr(os, "link"):
            os.link(os.path.realpath(source), target)
            return
    except OSError as error:
        if not _no_links(error):
            raise
    with source.open("rb") as old, target.open("xb") as new:
        try:
            shutil.copyfileobj(old, new, 1 << 20)
        except BaseException:
            with contextlib.suppress(OSError):
                target.unlink()
            raise


def publish(source: Path, target: Path) -> None:
    """Give a file a name that no file has, all at once. Where there are no links, it loses the other one.

    Raises:
        FileExistsError: the name is taken. Without links, only Windows says so; elsewhere that file goes.
    """
    try:
        if hasattr(os, "link"):
            os.link(source, target)
            return
    except OSError as error:
        if not _no_links(error):
            raise
    source.rename(target)


def _no_links(error: OSError) -> bool:
    return error.errno in NO_LINKS or getattr(error, "winerror", None) in NO_LINKS_ON_WINDOWS


def _forked() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
