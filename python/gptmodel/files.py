"""Files that are whole or absent, and folders in which one process works at a time."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
import warnings
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from gptmodel.errors import LockedError

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind: there, nothing is locked
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock", "flush", "remove", "replace", "usual_mode", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write ``path`` so that a reader, and a crash, finds the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_text(text, encoding="utf-8")
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace(temporary: Path, path: Path) -> None:
    """Flush a file, or a folder of files, and give it the name ``path`` in place of what had that name."""
    for file in (*(temporary.iterdir() if temporary.is_dir() else ()), temporary):
        if file.is_file():
            usual_mode(file)
        flush(file)
    old = path.with_name(f".{path.name}.old-{os.getpid()}")
    if path.is_dir():  # a folder cannot be replaced in one step
        path.rename(old)
    temporary.replace(path)
    remove(old)
    flush(path.parent)


def usual_mode(path: Path) -> None:
    """Give a file the mode that ``open`` would: safetensors leaves files that only their owner can read."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot flush a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; one that is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Lock:
    """A folder is worked in by one process; a context manager.

    The operating system releases the lock when the process ends, however it ends. The lock file stays: to
    remove it would let two processes lock two different files of one name. Raises LockedError, naming the
    process that holds the lock, and where ``.lock`` is a link or holds what no lock does.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self.is_held = False
        """Whether the system keeps others out; some file systems cannot."""
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        file = os.fdopen(_open_lock(self.path), "a+", encoding="utf-8", errors="replace")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.is_held = True
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise LockedError(
                f"{self.path.parent} is in use by another process{f' ({holder})' if holder else ''}: "
                "wait until it has ended, or stop it"
            ) from None
        except OSError as error:  # some network file systems cannot
            warnings.warn(f"{self.path.parent} cannot be locked ({error}): start it once", stacklevel=2)
        file.seek(0)
        content = file.read(100)
        if content and not content.startswith("pid "):
            file.close()
            raise LockedError(f"{self.path} was not made by gptmodel: move it away")
        file.truncate(0)
        file.write(f"pid {os.getpid()}")
        file.flush()
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file, self.is_held = None, False


def _open_lock(path: Path) -> int:
    """A descriptor of the lock file at ``path``, made if it is not there. A link is not followed."""
    try:
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise LockedError(f"{path} is a symbolic link and no lock: remove it") from None
