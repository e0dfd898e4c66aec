"""Room in the cache of datasets: which blocks are there since when, and which of them go.

``shard-00000.ages`` has a number for each block of a shard: when it was fetched, in seconds since 1970; 0
where it is not there. When the cache is full, the older half of all blocks goes at once. A shard that keeps
some of its blocks is copied without the others to a file that takes its place. So who has the old one open
reads on there, and what had been compared with its checksum cannot turn into a hole. Half at a time means
that no more is copied than is fetched, and that a cache of twice the size of what is in use loses none of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gptbpe.io import places

__all__ = ["BLOCK_BYTES", "HEADER_BYTES", "MARK", "make_room", "note", "remove"]

HEADER_BYTES = 1024
BLOCK_BYTES = 1 << 20
MARK = ".gptbpe-cache"
"""The file that a folder of the cache has: nothing is removed from others."""
LEFT_SECONDS = 3600
"""What a process that was killed left under a name for the time being goes after so long."""

Age = tuple[float, int]
"""When a block was fetched, and its number; -1 stands for all of a shard that has no ages."""


def note(path: Path, block: int) -> None:
    """Take note that a block of a shard's file is there from now on."""
    file = os.open(_ages(path), os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        places.write_at(file, np.array([time.time()], "<f8").tobytes(), 8 * block)
    finally:
        os.close(file)


def make_room(cache: Path, most: int, more: int, kept: Mapping[Path, Set[int]]) -> set[Path]:
    """Remove the blocks that were fetched the longest ago, until there is room for more.

    Args:
        cache: the folder with those of the datasets.
        most: bytes of tokens that the cache may hold.
        more: bytes that are to come.
        kept: files that stay, and which of their blocks do.

    Returns:
        The files that are gone or others by now.
    """
    used, shards = 0, []
    for mark in cache.glob(f"*/{MARK}"):
        for path in mark.parent.glob("*.bin"):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                used += _bytes(path, found)
                shards.append((path, found.st_mtime))
    if used + more <= most:
        return set()
    _remove_left(cache)
    wanted = used - max(min(most // 2, most - more), 0)
    blocks = sorted(
        (age, number, path)
        for path, changed in shards
        for age, number in _blocks(path, changed)
        if number not in kept.get(path, ()) and not (number < 0 and path in kept)
    )
    going: dict[Path, set[int]] = {}
    for _, number, path in blocks:
        if wanted <= 0:
            break
        going.setdefault(path, set()).add(number)
        wanted -= BLOCK_BYTES if number >= 0 else _bytes(path, None)
    for path, numbers in going.items():
        stay = [number for _, number in _blocks(path, 0) if number not in numbers and number >= 0]
        if stay or path in kept:
            _copy_without(path, stay)
        else:
            remove(path)
    return set(going)


def remove(path: Path) -> None:
    """Remove a shard from the cache."""
    for suffix in (".bin", ".gbx", ".ages"):
        path.with_suffix(suffix).unlink(missing_ok=True)


def _ages(path: Path) -> Path:
    return path.with_suffix(".ages")


def _blocks(path: Path, changed: float) -> list[Age]:
    try:
        data = _ages(path).read_bytes()
    except FileNotFoundError:
        data = b""
    ages: npt.NDArray[np.float64] = np.frombuffer(data, "<f8", len(data) // 8)
    found = np.flatnonzero(ages)
    return [(float(ages[number]), number) for number in found.tolist()] or [(changed, -1)]


def _bytes(path: Path, found: os.stat_result | None) -> int:
    """The bytes that a file takes on disk, most of which may be holes."""
    try:
        found = found or path.stat()
    except FileNotFoundError:
        return 0
    blocks: int | None = getattr(found, "st_blocks", None)  # Windows does not say
    if blocks is not None:
        return 512 * blocks
    ages = _blocks(path, 0)
    return found.st_size if ages[0][1] < 0 else BLOCK_BYTES * len(ages)


def _copy_without(path: Path, stay: list[int]) -> None:
    """Replace a shard's file by one that has only some of its blocks."""
    spare = path.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        with path.open("rb") as old, spare.open("wb") as new:
            new.write(old.read(HEADER_BYTES))
            for number in stay:
                old.seek(HEADER_BYTES + number * BLOCK_BYTES)
                new.seek(HEADER_BYTES + number * BLOCK_BYTES)
                new.write(old.read(BLOCK_BYTES))
            new.truncate(os.fstat(old.fileno()).st_size)
        ages = np.frombuffer(_ages(path).read_bytes(), "<f8").copy() if stay else np.zeros(0)
        ages[np.setdiff1d(np.arange(len(ages)), stay)] = 0
        _ages(path).write_bytes(ages.tobytes())
        spare.replace(path)
    except OSError:  # no room for a copy, or another process was faster: nothing there is worth an error
        remove(path)
    finally:
        spare.unlink(missing_ok=True)


def _remove_left(cache: Path) -> None:
    for path in cache.glob("*/.tmp-*"):
        with contextlib.suppress(OSError):
            if (path.parent / MARK).exists() and time.time() - path.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
