r"""Megatron-Core's indexed datasets: ``NAME.bin`` with ids, ``NAME.idx`` with the place of each sequence.

The index holds, little-endian and without gaps: 9 bytes ``MMIDIDX\0\0``; u64 1, the version; u8, the code
of the type of ids; u64, the number of sequences; u64, the number of document indices, one more than there are
documents; i32 for each sequence, its ids; i64 for each sequence, the byte of the ``.bin`` file at which it
begins; i64 for each document index, the number of its first sequence.

Because places are in bytes, an index may point behind the 1,024 bytes of header of our ``.bin`` files. So
they are linked and get an index, and no token is copied. 32-bit ids are stated as int32, the only wide type
of that format; our ids are below 2^31.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gptbpe import files
from gptbpe.errors import ShardError, ShardFormatError
from gptbpe.io import places
from gptbpe.shards.formats.documents import (
    Documents,
    Ids,
    Name,
    ascending,
    chunks,
    must_be_new,
    read_exactly,
)
from gptbpe.shards.reader import ShardReader

__all__ = ["read_megatron", "write_megatron"]

MAGIC = b"MMIDIDX\0\0"
HEADER = struct.Struct("<9sQBQQ")
TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
"""Types of ids by their codes. Of what a code may say besides, floating point numbers are no ids."""
CODES = {"uint16": 8, "uint32": 4}
BIN_HEADER_BYTES = 1024


def write_megatron(reader: ShardReader, out: Name, *, force: bool = False) -> list[Path]:
    """Write an index for each shard, and link the shards' ``.bin`` files beside them.

    The files are hard links, or copies where the folder is on another file system: so an index never points
    into a shard that was replaced. Megatron takes ``out/shard-00000`` and so on as data paths. Every
    document is a sequence.

    Args:
        reader: the dataset.
        out: a folder of its own; made if it is not there.
        force: replace files of the same names.

    Returns:
        The names without suffix, one for each shard.

    Raises:
        ShardError: the dataset does not say where documents end.
        ShardExistsError: files are there, and ``force`` is not set.

    >>> import tempfile
    >>> from gptbpe import ShardWriter
    >>> folder = Path(tempfile.mkdtemp())
    >>> with ShardWriter(folder / "data", vocab_size=100) as writer:
    ...     writer.write([1, 2, 3])
    >>> (prefix,) = write_megatron(ShardReader(folder / "data"), folder / "megatron")
    >>> [ids.tolist() for ids, _ in read_megatron(prefix)]
    [[1, 2, 3]]
    """
    if reader._remote is not None:
        raise ShardError(
            f"{reader.path} is in an object store, where no file can be linked: copy it here first"
        )
    folder = Path(out)
    prefixes = [folder / shard.path.stem for shard in reader.shards]
    must_be_new((Path(f"{prefix}.{end}") for prefix in prefixes for end in ("bin", "idx")), force)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (prefix, shard) in enumerate(zip(prefixes, reader.shards, strict=True)):
        ends = reader.documents(number).astype(np.int64)
        starts = np.concatenate(([0], ends))
        lengths = np.diff(starts)
        header = HEADER.pack(MAGIC, 1, CODES[reader.dtype.name], len(ends), len(ends) + 1)
        Path(f"{prefix}.idx").unlink(missing_ok=True)
        _link(shard.path, Path(f"{prefix}.bin"))
        with files.opened_atomically(f"{prefix}.idx") as write:
            write(header)
            write(lengths.astype("<i4").tobytes())
            write((BIN_HEADER_BYTES + starts[:-1] * reader.dtype.itemsize).astype("<i8").tobytes())
            write(np.arange(len(ends) + 1, dtype="<i8").tobytes())
    return prefixes


def read_megatron(prefixes: Name | Iterable[Name]) -> Iterator[Documents]:
    """Yield the documents of indexed datasets.

    Args:
        prefixes: names without suffix, as Megatron takes them.

    Raises:
        FileNotFoundError: a file is missing.
        ShardFormatError: an index is damaged, of another version, or its numbers are no ids.
        ShardTruncatedError: the tokens end before the index says so.
    """
    for prefix in [prefixes] if isinstance(prefixes, str | os.PathLike) else prefixes:
        yield from _documents(Path(prefix))


def _documents(prefix: Path) -> Iterator[Documents]:
    dtype, lengths, places, documents = _index(Path(f"{prefix}.idx"))
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    path = Path(f"{prefix}.bin")
    with path.open("rb") as opened:
        for first, last in chunks(offsets[documents]):
            begin, end = int(documents[first]), int(documents[last])
            ids = _sequences(path, opened.fileno(), dtype, lengths[begin:end], places[begin:end])
            yield Documents(ids, offsets[documents[first : last + 1]] - offsets[begin])


def _index(
    path: Path,
) -> tuple[np.dtype[np.generic], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Read an index: the type of ids, lengths and places of sequences, and where documents begin."""
    size = path.stat().st_size
    with path.open("rb") as opened:
        head = opened.read(HEADER.size)
        if len(head) < HEADER.size or not head.startswith(MAGIC):
            raise ShardFormatError(f"{path} is no index of Megatron: it does not begin with {MAGIC!r}")
        _, version, code, sequences, indices = HEADER.unpack(head)
        if version != 1:
            raise ShardFormatError(f"{path} is version {version} of Megatron's index, expected 1")
        if code not in TYPES:
            raise ShardFormatError(f"{path}: ids of type {code}; integers have {', '.join(map(str, TYPES))}")
        expected = HEADER.size + 12 * sequences + 8 * indices
        if size != expected:
            raise ShardFormatError(
                f"{path} has {size:,} bytes, expected {expected:,} for its {sequences:,} sequences (a "
                "multimodal dataset has more, and is not read)"
            )

        def numbers(start: int, dtype: str, count: int) -> npt.NDArray[np.int64]:
            return read_exactly(path, opened.fileno(), start, np.dtype(dtype), count).astype(np.int64)

        lengths = numbers(HEADER.size, "<i4", sequences)
        places = numbers(HEADER.size + 4 * sequences, "<i8", sequences)
        documents = numbers(HEADER.size + 12 * sequences, "<i8", indices)
    if (lengths < 0).any() or (places < 0).any():
        raise ShardFormatError(f"{path} is damaged: there are negative lengths or places")
    ascending(documents, 0, sequences, path, "document indices")
    return np.dtype(TYPES[code]), lengths, places, documents


def _sequences(
    path: Path,
    file: int,
    dtype: np.dtype[np.generic],
    lengths: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
) -> Ids:
    """Read sequences; those that lie one after another are read at once."""
    if not len(lengths):
        return np.zeros(0, dtype)
    ends = places + lengths * dtype.itemsize
    runs = np.concatenate(([0], np.flatnonzero(places[1:] != ends[:-1]) + 1, [len(lengths)]))
    parts = [
        read_exactly(path, file, int(places[first]), dtype, int(lengths[first:last].sum()))
        for first, last in zip(runs[:-1].tolist(), runs[1:].tolist(), strict=True)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _link(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where the file system cannot."""
    spare = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        with contextlib.suppress(FileNotFoundError):
            spare.unlink()
        places.link_or_copy(source, spare)
        spare.replace(target)
    finally:
        spare.unlink(missing_ok=True)
