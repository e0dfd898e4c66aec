"""Datasets in object stores: a local folder that fills with the blocks of 1 MiB that are read.

The folder has the names that the dataset has, and holds its manifest. A shard's file has its full length from
the beginning, with holes in it; a block is fetched when the reader finds that it does not match its
checksum, compared with that checksum before it is written, and compared again by the reader. So what is
missing, cut or damaged is never taken for tokens, whoever else works in the folder or was killed there.

All datasets share a cache of bounded size. When it is full, the blocks that were fetched the longest ago go
(:mod:`gptbpe.shards.room`). What is not in a folder that this module made is never removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import threading
import uuid
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gptbpe import extras, files
from gptbpe._core import CoreShardReader
from gptbpe.errors import MissingExtraError, ShardChecksumError, ShardError, ShardFormatError
from gptbpe.io import places, remote
from gptbpe.shards.room import BLOCK_BYTES, HEADER_BYTES, MARK, make_room, note, remove

__all__ = ["CACHE_BYTES", "CachedDataset"]

CACHE_BYTES = 64 << 30
"""The size of the cache, unless told otherwise."""
TRIES = 4
"""How often something is fetched that does not match its checksum."""
CONNECTIONS = 8
"""Blocks that are fetched at a time."""
DIGEST_BYTES = 83
"""The last line of a manifest."""

Block = tuple[int, int]
"""The number of a shard and of one of its blocks."""


class CachedDataset:
    """A dataset at a URL, and the folder in which what was read of it lies."""

    def __init__(self, url: str, cache: str | os.PathLike[str] | None, cache_bytes: int | None) -> None:
        self.url = url.rstrip("/")
        self.read_bytes = 0
        """Bytes that were fetched by this object."""
        self._xxhash = _xxhash()
        self._cache = _cache_folder(cache)
        self._most = CACHE_BYTES if cache_bytes is None else cache_bytes
        self._lock, self._process = threading.RLock(), os.getpid()
        manifest = self._manifest()
        key = hashlib.sha256(self.url.encode() + b"\0" + manifest).hexdigest()[:32]
        self.folder = self._cache / key
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARK).write_text(self.url + "\n")
        files.write_atomically(self.folder / "manifest.json", manifest)
        self.open()  # refuses names that lead out of the folder, before anything is written under them
        content: dict[str, Any] = json.loads(manifest)
        self._shards: list[dict[str, Any]] = content["shards"]
        self._width = np.dtype(content["dtype"]).itemsize
        self._numbers = {shard["file"]: number for number, shard in enumerate(self._shards)}
        self._sums: dict[int, npt.NDArray[np.uint64]] = {}
        self.stale = False
        """Whether files of the folder are gone or others, so that it is to be opened again."""
        self._known: set[Block] = set()
        """Blocks that were right when this object last looked."""
        self._tried: Counter[object] = Counter()
        self._touched: dict[Path, set[int]] = {}
        """Blocks of shards that the present call needs: making room for one of them leaves the others."""
        self._fetch_tokenizer(content["tokenizer"])

    def open(self) -> CoreShardReader:
        """Open the folder."""
        return CoreShardReader.open(self.folder, "lazy", "pread", None)

    def done(self) -> None:
        """Take note that a call came through."""
        with self._alone():
            self._tried.clear()
            self._touched.clear()

    def _alone(self) -> threading.RLock:
        """Let one thread at a time in; a forked process has a lock of its own, as nobody releases the old."""
        if self._process != os.getpid():
            self._lock, self._process = threading.RLock(), os.getpid()
        return self._lock

    def holds(self, error: Exception) -> bool:
        """Whether an error is about a file of this folder, which may be missing or have holes."""
        path = getattr(error, "path", None) or getattr(error, "filename", None)
        if path is None:
            return False
        path = Path(str(path)).with_suffix(".bin")
        return path.parent == self.folder and path.name in self._numbers

    def mend(self, error: Exception) -> None:
        """Fetch what an error of the reader says is missing.

        Raises:
            OSError: it cannot be fetched.
            ShardChecksumError: what is fetched does not match its checksum.
        """
        if not self.holds(error):
            raise error
        with self._alone():
            self._mend(error)

    def _mend(self, error: Exception) -> None:
        place = getattr(error, "path", None) or getattr(error, "filename", None)
        path = Path(str(place)).with_suffix(".bin")
        number, offset = self._numbers[path.name], getattr(error, "offset", None)
        self._tried[path, offset] += 1
        tried = self._tried[path, offset]
        if tried > TRIES:
            raise error
        if isinstance(error, FileNotFoundError) or not path.exists():
            self._fetch_shard(number)
            self.stale = True
            return
        if offset is None or offset < HEADER_BYTES:
            # Another process made the file anew, or its beginning is damaged.
            self.stale = True
            if tried > 1:
                self._remove(path)
            return
        block = (number, (offset - HEADER_BYTES) // BLOCK_BYTES)
        self._known.discard(block)
        self.fetch([block])
        self.stale |= tried > 1

    def fetch(self, blocks: Iterable[Block]) -> None:
        """Fetch blocks that are not there, several at a time."""
        with self._alone():
            self._fetch(blocks)

    def _fetch(self, blocks: Iterable[Block]) -> None:
        wanted: list[tuple[Path, Block]] = []
        for number, block in sorted(set(blocks)):
            path = self.folder / self._shards[number]["file"]
            self._touched.setdefault(path, set()).add(block)
            if (number, block) in self._known:
                continue
            self._block_sums(number)
            try:
                there = self._is_there(path, number, block)
            except FileNotFoundError:  # not there yet, or another process made room
                self._fetch_shard(number)
                there = False
            if there:
                self._known.add((number, block))
            else:
                wanted.append((path, (number, block)))
        if wanted:
            self._make_room(BLOCK_BYTES * len(wanted))
        if len(wanted) == 1:
            self._fetch_block(*wanted[0])
        elif wanted:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(lambda each: self._fetch_block(*each), wanted))

    def blocks(self, shard: int, start: int, stop: int) -> list[Block]:
        """Return the blocks in which tokens ``start`` to ``stop`` of a shard lie."""
        if not 0 <= shard < len(self._shards) or not 0 <= start < stop:
            return []
        end = min(stop, self._shards[shard]["tokens"]) * self._width
        return [(shard, block) for block in range(start * self._width // BLOCK_BYTES, -(-end // BLOCK_BYTES))]

    def _is_there(self, path: Path, number: int, block: int) -> bool:
        start, stop = self._range(number, block)
        with path.open("rb") as file:
            data = places.read_at(file.fileno(), stop - start, start)
        return bool(self._xxhash.xxh3_64_intdigest(data) == int(self._block_sums(number)[block]))

    def _range(self, number: int, block: int) -> tuple[int, int]:
        start = HEADER_BYTES + block * BLOCK_BYTES
        end = HEADER_BYTES + self._shards[number]["tokens"] * self._width
        return start, min(start + BLOCK_BYTES, end)

    def _fetch_block(self, path: Path, at: Block) -> None:
        number, block = at
        start, stop = self._range(number, block)
        url = f"{self.url}/{self._shards[number]['file']}"
        for _ in range(TRIES):
            data = self._get(url, start, stop)
            if self._xxhash.xxh3_64_intdigest(data) == int(self._block_sums(number)[block]):
                break
        else:
            raise ShardChecksumError(
                f"{url} is damaged, or another dataset by now: bytes {start:,} to {stop:,} do not match "
                "their checksum",
                url,
                start,
            )
        try:
            with path.open("r+b") as file:
                written = places.write_at(file.fileno(), data, start)
            note(path, block)
        except FileNotFoundError:
            return  # another process made room; the reader asks again
        if written == len(data):
            self._known.add(at)

    def _fetch_shard(self, number: int) -> None:
        """Make a shard's file with its header and holes, and its sidecar."""
        shard = self._shards[number]
        name = shard["file"]
        url = f"{self.url}/{name}"
        self._touched.setdefault(self.folder / name, set())
        self._make_room(0)
        for left in reversed(range(TRIES)):
            spare = self.folder / f".tmp-{uuid.uuid4().hex}"
            spare.mkdir()
            try:
                found, sidecar = spare / name, (spare / name).with_suffix(".gbx")
                header = self._get(url, 0, HEADER_BYTES)
                with found.open("wb") as file:
                    file.write(header)
                    file.truncate(HEADER_BYTES + shard["tokens"] * self._width)
                sidecar_url = f"{self.url}/{sidecar.name}"
                sidecar.write_bytes(self._get(sidecar_url, 0, remote.size(sidecar_url)))
                if header[-4:].hex() != shard["header_crc32c"]:
                    raise ShardFormatError(f"{url} is not the shard that the manifest lists")
                CoreShardReader.open(found, "open", "pread", None).documents(0)
                target = self.folder / name
                if not target.exists():
                    target.with_suffix(".ages").unlink(missing_ok=True)
                sidecar.replace(target.with_suffix(".gbx"))
                with contextlib.suppress(FileExistsError):
                    places.publish(found, target)
                self._known = {block for block in self._known if block[0] != number}
            except ShardError as error:
                if not left:
                    raise ShardChecksumError(
                        f"{url} is damaged, or another dataset by now: {error}", url
                    ) from error
            else:
                return
            finally:
                shutil.rmtree(spare, ignore_errors=True)

    def _block_sums(self, number: int) -> npt.NDArray[np.uint64]:
        path = self.folder / self._shards[number]["file"]
        for left in reversed(range(TRIES)):
            if number in self._sums:
                break
            try:
                CoreShardReader.open(path, "open", "pread", None).documents(0)  # checks the whole sidecar
                self._sums[number] = block_sums(path.with_suffix(".gbx").read_bytes())
            except (FileNotFoundError, ShardError):
                if not left:
                    raise
                self._remove(path)
                self._fetch_shard(number)
        return self._sums[number]

    def _manifest(self) -> bytes:
        url = f"{self.url}/manifest.json"
        for _ in range(TRIES):
            data = self._get(url, 0, remote.size(url))
            body, tail = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
            if hashlib.sha256(body).hexdigest().encode() in tail:
                return data
        raise ShardChecksumError(f"{url} was cut, edited or damaged: it does not match its sha256", url)

    def _fetch_tokenizer(self, entry: dict[str, Any]) -> None:
        if entry.get("sha256") is None:
            return
        name = entry.get("file") or "tokenizer.json"
        if (self.folder / name).exists():
            return
        url = f"{self.url}/{name}"
        for _ in range(TRIES):
            data = self._get(url, 0, remote.size(url))
            if hashlib.sha256(data).hexdigest() == entry["sha256"]:
                files.write_atomically(self.folder / name, data)
                return
        raise ShardChecksumError(f"{url} is damaged: it does not match its sha256", url)

    def _get(self, url: str, start: int, stop: int) -> bytes:
        data = remote.read(url, start, stop)
        self.read_bytes += len(data)
        return data

    def _make_room(self, more: int) -> None:
        for path in make_room(self._cache, self._most, more, self._touched):
            self._forget(path)

    def _remove(self, path: Path) -> None:
        self._forget(path)
        remove(path)

    def _forget(self, path: Path) -> None:
        """Take note that a file is gone, or another by now."""
        if path.parent == self.folder:
            number = self._numbers.get(path.name)
            self._known = {block for block in self._known if block[0] != number}
            self.stale = True  # who has the file open keeps its room on the disk


def block_sums(sidecar: bytes) -> npt.NDArray[np.uint64]:
    """Return the checksums of a shard's blocks from its sidecar, whose own checksum was compared before."""
    (sections,) = struct.unpack_from("<I", sidecar, 12)
    for number in range(sections):
        kind, _, start, length, _ = struct.unpack_from("<IIQQQ", sidecar, 48 + 32 * number)
        if kind == 2:
            return np.frombuffer(sidecar, "<u8", length // 8, start)
    return np.zeros(0, np.uint64)


def _cache_folder(cache: str | os.PathLike[str] | None) -> Path:
    if cache is not None:
        return Path(cache).absolute()
    if given := os.environ.get("GPTBPE_CACHE"):
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gptbpe"


def _xxhash() -> Any:
    try:
        import xxhash
    except ImportError as error:
        raise MissingExtraError(
            f"datasets in object stores need xxhash; install it with: {extras.install('remote')}"
        ) from error
    return xxhash
