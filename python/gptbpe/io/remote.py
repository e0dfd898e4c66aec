"""Files in object stores and on web servers: ``s3://``, ``gs://``, ``https://``, read through fsspec.

Bytes come in ranges. A range that fails, stalls or comes back short is asked for again, a little later each
time; after :data:`TRIES` times it is an error. Nothing is read past an object that was replaced meanwhile.
Credentials and end points are those of s3fs and gcsfs: environment, configuration files, instance roles.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import time
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, TypeVar

from gptbpe import extras
from gptbpe.errors import MissingExtraError

__all__ = ["RemoteFile", "Url", "expand", "is_remote", "opened", "path_of", "read", "size", "state"]

SCHEMES = {"s3": "s3fs", "gs": "gcsfs", "https": "aiohttp", "http": "aiohttp"}
"""What is read, and what fsspec needs for it."""

TRIES = 5
FIRST_PAUSE = 0.2
"""Seconds before the second try; twice as many before each one after that."""
STALL_SECONDS = 60.0
"""A range that has not come after so long is asked for again."""
BUFFER_BYTES = 8 << 20
"""A file that is read from its beginning is asked for in ranges of this size."""

Result = TypeVar("Result")


def is_remote(name: object) -> bool:
    """Whether a name is a URL that is read from afar.

    >>> is_remote("s3://bucket/input.txt"), is_remote("input.txt")
    (True, False)
    """
    return isinstance(name, str) and name.partition("://")[0] in SCHEMES and "://" in name


def path_of(url: str) -> PurePosixPath:
    """Return the path in a URL, whose suffix says what the file is.

    >>> path_of("https://example.org/a/b.txt.gz?signature=1").name
    'b.txt.gz'
    """
    path = url.partition("://")[2]
    if url.startswith("http"):
        path = re.split(r"[?#]", path, maxsplit=1)[0]
    return PurePosixPath(path)


def size(url: str) -> int:
    """Return how many bytes a file has.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be reached, or the server does not say.
    """
    return _size(_info(url), url)


def state(url: str) -> tuple[int, str]:
    """Return the size of a file and what tells it from another one of that name: an entity tag or a time."""
    info = _info(url)
    return _size(info, url), _version(info)


def read(url: str, start: int, stop: int) -> bytes:
    """Return bytes ``start`` to ``stop`` of a file, all of them.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: they did not come, not even when they were asked for again and again.
    """

    def get() -> bytes:
        data = _call(url, "cat_file", start=start, end=stop)
        if len(data) != stop - start:
            raise OSError(errno.EIO, f"{len(data):,} bytes came instead of {stop - start:,}")
        return bytes(data)

    return b"" if start == stop else _tried(url, get)


def expand(url: str, wanted: Callable[[str], bool]) -> list[str]:
    """Return the files that a URL means, sorted by name: itself, what a pattern matches, what lies under it.

    Raises:
        FileNotFoundError: there is no such file, and nothing wanted lies under it.
    """
    scheme = url.partition("://")[0]
    if scheme in ("http", "https"):
        size(url)  # says what is wrong before any work is done; a web server has no folders
        return [url]
    files = _file_system(url)
    if any(sign in path_of(url).as_posix() for sign in "*?["):
        found = _tried(url, lambda: files.glob(url))
        if not found:
            raise FileNotFoundError(errno.ENOENT, "no file matches", url)
        return [f"{scheme}://{name}" for name in sorted(found)]
    if not url.endswith("/"):
        try:
            size(url)
        except (FileNotFoundError, IsADirectoryError):
            pass
        else:
            return [url]
    names = [f"{scheme}://{name}" for name in sorted(_tried(url, lambda: files.find(url)))]
    names = [name for name in names if wanted(name)]
    if not names:
        raise FileNotFoundError(errno.ENOENT, "no such file, and no text files under it", url)
    return names


class Url(str):
    """A URL that stands for what is in the file, where a plain ``str`` may be text."""

    __slots__ = ()


class RemoteFile(io.RawIOBase):
    """A remote file as a file object that can seek; every read is one request.

    What is read from the front to the end is compared with the file's entity tag at the end. Once a place was
    sought, as for the columns of a Parquet file, that is done after every read, because nothing says which
    one is the last.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.size, self._state = state(url)
        self._at = self._read_to = 0
        self._sought = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read at the place.

        Raises:
            OSError: ESTALE: it is another file by now.
        """
        count = max(min(len(buffer), self.size - self._at), 0)
        self._sought |= self._at != self._read_to
        if count:
            buffer[:count] = read(self.url, self._at, self._at + count)
            self._at += count
        self._read_to = self._at
        if (self._sought or self._at >= self.size) and state(self.url) != (self.size, self._state):
            raise OSError(errno.ESTALE, "it was replaced while it was read; begin again", self.url)
        return count


def opened(url: str) -> io.BufferedReader:
    """Open a remote file for reading."""
    return io.BufferedReader(RemoteFile(url), BUFFER_BYTES)


def _info(url: str) -> dict[str, Any]:
    def get() -> dict[str, Any]:
        _file_system(url).invalidate_cache()  # sizes are asked for, not remembered
        return dict(_call(url, "info"))

    return _tried(url, get)


def _size(info: dict[str, Any], url: str) -> int:
    if info.get("type") == "directory":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), url)
    if info.get("size") is None:
        raise OSError(errno.EIO, "the server does not say how many bytes there are", url)
    return int(info["size"])


def _version(info: dict[str, Any]) -> str:
    for name in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated"):
        if info.get(name):
            return str(info[name])
    return ""


def _call(url: str, method: str, **options: Any) -> Any:
    """Call a method of a file system on a URL, and give up when it takes too long."""
    files = _file_system(url)
    if not getattr(files, "async_impl", False):
        return getattr(files, method)(url, **options)
    from fsspec.asyn import sync

    name = files._strip_protocol(url)
    return sync(files.loop, getattr(files, f"_{method}"), name, timeout=STALL_SECONDS, **options)


def _file_system(url: str) -> Any:
    scheme = url.partition("://")[0]
    try:
        fsspec = importlib.import_module("fsspec")
        return fsspec.filesystem(scheme)
    except ImportError as error:
        raise MissingExtraError(
            f"{url} needs fsspec and {SCHEMES[scheme]}; install them with: {extras.install('remote')}"
        ) from error


def _tried(url: str, call: Callable[[], Result]) -> Result:
    """Call, and call again where that may help."""
    pause = FIRST_PAUSE
    for left in reversed(range(TRIES)):
        try:
            return call()
        except (MissingExtraError, MemoryError):
            raise
        except Exception as error:  # every library below has exceptions of its own for a bad connection
            code = _final(error)
            if code is not None:
                raise OSError(code, os.strerror(code), url) from error
            if not left:
                words = " ".join(f"{type(error).__name__}: {error}".split())
                what = f"it cannot be read, after {TRIES} tries ({words})"
                raise OSError(errno.EIO, what, url) from error
            time.sleep(pause)
            pause *= 2
    raise AssertionError("there is a try")


def _final(error: Exception) -> int | None:
    """The system's number for an error that stays what it is; None where another try may help."""
    status = getattr(error.__cause__, "status", getattr(error, "status", None))
    if status in (401, 403) or isinstance(error, PermissionError):
        return errno.EACCES
    if isinstance(error, IsADirectoryError):
        return errno.EISDIR
    if isinstance(error, FileNotFoundError):
        # fsspec says so of a web server also where no answer came, or another one.
        answered = not type(error.__cause__).__module__.startswith(("aiohttp", "asyncio"))
        return errno.ENOENT if answered or status in (404, 410) else None
    return None
