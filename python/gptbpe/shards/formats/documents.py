"""What all formats have in common: documents of ids, many at a time, and copying them into shards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gptbpe.errors import ShardError, ShardExistsError, ShardFormatError, ShardTruncatedError
from gptbpe.io import places
from gptbpe.shards.reader import ShardReader
from gptbpe.shards.writer import DEFAULT_SHARD_TOKENS, ShardWriter

if TYPE_CHECKING:
    from gptbpe.tokenizer import Tokenizer

__all__ = ["Documents", "documents_of", "write_documents"]

CHUNK_TOKENS = 1 << 22
"""About so many tokens are read at a time, or one document where that has more."""
CHUNK_DOCUMENTS = 1 << 16

Name = str | os.PathLike[str]
Ids = npt.NDArray[Any]


class Documents(NamedTuple):
    """Some documents, as ``Tokenizer.encode_ragged`` returns them."""

    ids: Ids
    """The ids of one document after another, of any type of integer."""
    offsets: npt.NDArray[np.int64]
    """Document ``i`` is ``ids[offsets[i]:offsets[i + 1]]``."""


def documents_of(reader: ShardReader, shard: int | None = None) -> Iterator[Documents]:
    """Yield all documents of a dataset, or of one of its shards, with the separators that are in them.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder, vocab_size=100, eos=99) as writer:
    ...     writer.write([1, 2])
    >>> [(ids.tolist(), offsets.tolist()) for ids, offsets in documents_of(ShardReader(folder))]
    [([1, 2, 99], [0, 3])]
    """
    for number in range(len(reader.shards)) if shard is None else [shard]:
        ends = reader.documents(number).astype(np.int64)
        for first, last in chunks(np.concatenate(([0], ends))):
            begin = int(ends[first - 1]) if first else 0
            ids = reader.tokens(number, begin, int(ends[last - 1]))
            yield Documents(ids, np.concatenate(([0], ends[first:last] - begin)))


def chunks(offsets: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Divide documents into groups of about :data:`CHUNK_TOKENS`: the first of each, and the one after."""
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + CHUNK_TOKENS, "right")) - 1
        last = min(max(last, first + 1), first + CHUNK_DOCUMENTS, len(offsets) - 1)
        yield first, last
        first = last


def write_documents(
    documents: Iterable[Documents],
    out: Name,
    *,
    tokenizer: Tokenizer | None = None,
    vocab_size: int | None = None,
    bos: int | None = None,
    eos: int | None = None,
    options: Mapping[str, str] | None = None,
    shard_tokens: int = DEFAULT_SHARD_TOKENS,
    force: bool = False,
) -> ShardReader:
    """Write documents of ids as a dataset of shards, and open it.

    Args:
        documents: what ``read_megatron`` and the like yield.
        out: the folder.
        tokenizer: who made the ids; stored beside the shards. It also says how many bytes of text each
            document stands for, which is not known without it.
        vocab_size: ids are below it, where no tokenizer says so.
        bos: the token that every document begins with, if the dataset is to say so.
        eos: the token that every document ends with, likewise.
        options: how the documents came to be, in words; kept in the manifest.
        shard_tokens: a shard is closed before it would exceed this.
        force: replace other shards in the folder.

    Raises:
        UnknownTokenError: an id is negative or not in the vocabulary.
        ShardError: a document does not begin or end with the token that was stated.
        ShardExistsError: the folder holds shards, and ``force`` is not set.

    >>> import tempfile
    >>> some = Documents(np.array([1, 2, 9, 3, 9]), np.array([0, 3, 5]))
    >>> reader = write_documents([some], tempfile.mkdtemp(), vocab_size=10, eos=9)
    >>> reader.tokens(0).tolist(), reader.manifest["eos"]
    ([1, 2, 9, 3, 9], 9)
    """
    lengths = None if tokenizer is None else _token_lengths(tokenizer)
    with ShardWriter(
        out,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        bos=bos,
        eos=eos,
        shard_tokens=shard_tokens,
        options=options,
        force=force,
    ) as writer:
        if writer.complete:
            raise ShardExistsError(f"{out} holds shards already; replace them with force")
        for number, (ids, offsets) in enumerate(documents):
            if bos is not None:
                ids, offsets = _without(ids, offsets, bos, "begins", number)
            if eos is not None:
                ids, offsets = _without(ids, offsets, eos, "ends", number)
            text_bytes = None
            if lengths is not None and not (len(ids) and (ids.min() < 0 or ids.max() >= len(lengths))):
                sums = np.concatenate(([0], np.cumsum(lengths[ids])))
                text_bytes = np.diff(sums[offsets])
            writer.write_ragged(ids, offsets, text_bytes)
    return ShardReader(out)


def _token_lengths(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """How many bytes of text each id stands for; special tokens stand for none."""
    special = set(tokenizer.special_tokens.values())
    lengths = np.zeros(tokenizer.vocab_size, np.int64)
    for id in range(tokenizer.vocab_size):
        if id not in special:
            try:
                lengths[id] = len(tokenizer.token_bytes(id))
            except ValueError:
                continue  # no token has this id
    return lengths


def _without(
    ids: Ids, offsets: npt.NDArray[np.int64], token: int, place: str, chunk: int
) -> tuple[Ids, npt.NDArray[np.int64]]:
    """Take the token off each document, because the writer puts it there."""
    starts, ends = offsets[:-1], offsets[1:]
    at = starts if place == "begins" else ends - 1
    good = starts < ends
    good[good] = ids[at[good]] == token
    if not good.all():
        number = int(np.argmin(good))
        raise ShardError(
            f"not every document {place} with {token} (document {number} of part {chunk} does not); leave "
            "that token out, then documents stay as they are"
        )
    return np.delete(ids, at), offsets - np.arange(len(offsets))


def read_exactly(path: Path, file: int, start: int, dtype: np.dtype[Any], count: int) -> Ids:
    """Read numbers from a place of a file, all of them.

    Raises:
        ShardTruncatedError: the file ends before.
    """
    data = bytearray(count * dtype.itemsize)
    view, done = memoryview(data), 0
    while done < len(data):
        more = places.read_into(file, view[done : done + (1 << 30)], start + done)
        if not more:
            raise ShardTruncatedError(
                f"{path} is cut off: found {start + done:,} bytes, expected at least {start + len(data):,}",
                path,
                start + len(data),
                start + done,
            )
        done += more
    return np.frombuffer(data, dtype)


def ascending(values: npt.NDArray[np.int64], first: int, last: int, path: Path, what: str) -> None:
    """Raise ShardFormatError unless values ascend from the first to the last that are expected."""
    if not (len(values) and values[0] == first and values[-1] == last and (np.diff(values) >= 0).all()):
        raise ShardFormatError(f"{path} is damaged: {what} do not ascend from {first:,} to {last:,}")


def must_be_new(paths: Iterable[Path], force: bool) -> None:
    """Raise ShardExistsError if a file is there and must not be replaced."""
    for path in paths:
        if path.exists() and not force:
            raise ShardExistsError(f"{path} is there already; replace it with force")
