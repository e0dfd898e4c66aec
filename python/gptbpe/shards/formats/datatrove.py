"""datatrove's tokenized files: ``NAME.ds`` with ids and nothing else, ``NAME.ds.index`` with document ends.

The ends are u64 in tokens; ids are u16 or u32. ``NAME.ds.metadata`` is text: the tokenizer's name and the
bytes of an id with ``|`` between them, then the number of tokens. The ``.ds`` file has no header and its
readers begin at byte 0, so tokens are copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gptbpe import files
from gptbpe.errors import ShardFormatError, ShardTruncatedError
from gptbpe.shards.formats.documents import (
    Documents,
    Name,
    ascending,
    chunks,
    documents_of,
    must_be_new,
    read_exactly,
)
from gptbpe.shards.reader import ShardReader

__all__ = ["read_datatrove", "write_datatrove"]

TYPES: dict[int, np.dtype[Any]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}


def write_datatrove(reader: ShardReader, out: Name, *, force: bool = False) -> list[Path]:
    """Write a ``.ds`` file for each shard, with its index and metadata.

    Args:
        reader: the dataset.
        out: a folder; made if it is not there.
        force: replace files of the same names.

    Returns:
        The ``.ds`` files. ``DatatroveFolderDataset(out, seq_len, filename_pattern="*.ds",
        token_size=reader.dtype.itemsize)`` reads them.

    Raises:
        ShardError: the dataset does not say where documents end.
        ShardExistsError: files are there, and ``force`` is not set.
    """
    folder = Path(out)
    paths = [folder / f"{shard.path.stem}.ds" for shard in reader.shards]
    must_be_new((Path(f"{path}{end}") for path in paths for end in ("", ".index", ".metadata")), force)
    folder.mkdir(parents=True, exist_ok=True)
    size = reader.dtype.itemsize
    name = reader.tokenizer_fingerprint or "unknown"
    for number, (path, shard) in enumerate(zip(paths, reader.shards, strict=True)):
        ends = reader.documents(number).astype("<u8")
        with files.opened_atomically(path) as write:
            for ids, _ in documents_of(reader, number):
                write(ids.astype(TYPES[size], copy=False).tobytes())
        files.write_atomically(f"{path}.index", ends.tobytes())
        files.write_atomically(
            f"{path}.metadata", f"{name}|{size}\n{shard.tokens}\n{shard.tokens} T".encode()
        )
    return paths


def read_datatrove(
    inputs: Name | Iterable[Name], *, dtype: Literal["uint16", "uint32"] | None = None
) -> Iterator[Documents]:
    """Yield the documents of ``.ds`` files.

    Args:
        inputs: the files, each of which has its ``.index`` beside it.
        dtype: the type of ids. It may be left out where ``.metadata`` says it.

    Raises:
        FileNotFoundError: a file or its index is missing.
        ShardFormatError: nothing says of what type the ids are, or two things contradict each other.
        ShardTruncatedError: there are fewer ids than the index says.
    """
    for name in [inputs] if isinstance(inputs, str | os.PathLike) else inputs:
        path = Path(name)
        kind = _type(path, dtype)
        index = Path(f"{path}.index")
        data = index.read_bytes()
        if len(data) % 8:
            raise ShardTruncatedError(f"{index} holds no whole number of ends", index, None, len(data))
        size = path.stat().st_size
        ends = np.frombuffer(data, "<u8").astype(np.int64)
        offsets = np.concatenate(([0], ends))
        if size != int(offsets[-1]) * kind.itemsize:
            raise ShardTruncatedError(
                f"{path} has {size:,} bytes, expected {int(offsets[-1]) * kind.itemsize:,} for the "
                f"{int(offsets[-1]):,} ids of {kind.itemsize} bytes in its index",
                path,
                int(offsets[-1]) * kind.itemsize,
                size,
            )
        ascending(offsets, 0, int(offsets[-1]), index, "document ends")
        with path.open("rb") as opened:
            for first, last in chunks(offsets):
                begin, end = int(offsets[first]), int(offsets[last])
                ids = read_exactly(path, opened.fileno(), begin * kind.itemsize, kind, end - begin)
                yield Documents(ids, offsets[first : last + 1] - begin)


def _type(path: Path, stated: str | None) -> np.dtype[Any]:
    """The type of ids: what was stated, or what the metadata says."""
    metadata = Path(f"{path}.metadata")
    found = None
    if metadata.exists():
        _, bar, size = metadata.read_text(errors="replace").partition("\n")[0].rpartition("|")
        if bar and size.isdecimal():
            found = TYPES.get(int(size))
            if found is None:
                raise ShardFormatError(f"{metadata} says that an id has {size} bytes, expected 2 or 4")
    if stated is None:
        if found is None:
            raise ShardFormatError(f"nothing says of what type the ids in {path} are; state uint16 or uint32")
        return found
    if found is not None and np.dtype(stated) != found:
        raise ShardFormatError(f"{metadata} says {found.name}, and {np.dtype(stated).name} was stated")
    if np.dtype(stated).newbyteorder("<") not in TYPES.values():
        raise ShardFormatError(f"ids are uint16 or uint32, found {stated!r}")
    return np.dtype(stated).newbyteorder("<")
