"""The whole way from text files to a folder of token shards."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from gptbpe import pipeline, sources
from gptbpe._core import DocumentBatch, EncodedBatch
from gptbpe.errors import ShardError, TokenizerError
from gptbpe.files import spelled
from gptbpe.io import remote
from gptbpe.shards.reader import ShardReader
from gptbpe.shards.writer import DEFAULT_SHARD_TOKENS, ShardWriter
from gptbpe.types import END_OF_TEXT, Progress

if TYPE_CHECKING:
    from gptbpe.tokenizer import Tokenizer

__all__ = ["shard_files"]

Name = str | os.PathLike[str]


def shard_files(
    inputs: Name | Iterable[Name],
    tokenizer: Tokenizer | Name,
    out: Name,
    *,
    separator: str | None = END_OF_TEXT,
    separator_at: Literal["end", "start"] = "end",
    text_field: str = "text",
    shard_tokens: int = DEFAULT_SHARD_TOKENS,
    threads: int | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> ShardReader:
    """Tokenize text files into a folder of shards, and open it.

    Memory grows neither with the input nor with its documents, unless the split pattern is none of the usual
    ones: then a document is encoded in one piece. Running the same call again after an interruption keeps the
    shards that were complete, and does nothing when all were. Whether the input is the same is judged by
    names, sizes and times of the files, as ``make`` does; their order matters.

    Args:
        inputs: a file, folder or pattern, or several: text, JSON lines, Parquet, also as ``.gz`` and ``.zst``
            (:mod:`gptbpe.sources` has the kinds), ``"-"`` for standard input. They may be URLs: ``s3://``,
            ``gs://``, ``https://``.
        tokenizer: turns text into ids, a tokenizer or its file; stored beside the shards.
        out: the folder.
        separator: a special token of the tokenizer. It cuts plain text into documents, and its id is put
            after every document. With None a plain text is one document, and no id stands between
            documents. A tokenizer without this token can still write a single document.
        separator_at: ``"start"`` puts the id in front of every document instead, as modded-nanogpt wants it.
        text_field: the field of JSON objects, the column of Parquet files.
        shard_tokens: a shard is closed before it would exceed this.
        threads: for encoding; None for one per core.
        progress: called as ``progress("sharding", bytes_read, total_bytes_or_None)``.
        force: replace other shards that are in the folder, and do all of the work again. What was there stays
            readable until the new shards are whole.

    Raises:
        FileNotFoundError: an input is not there (before anything is written).
        TextError: an input cannot be read; the message names file and line.
        TokenizerError: there are several documents, but the tokenizer has no such separator.
        ShardExistsError: the folder holds other shards, or those of an unfinished run over other input, and
            ``force`` is not set.

    >>> import tempfile
    >>> from gptbpe import Tokenizer
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "input.txt").write_text("low lower")
    >>> tokenizer = Tokenizer.train(b"low lower lowest", vocab_size=260)
    >>> reader = shard_files(folder / "input.txt", tokenizer, folder / "data")
    >>> tokenizer.decode(reader.tokens(0))
    'low lower<|endoftext|>'
    """
    if separator_at not in ("end", "start"):
        raise ShardError(f"separator_at is {separator_at!r}, expected 'end' or 'start'")
    from gptbpe.tokenizer import Tokenizer

    if not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.load(tokenizer)
    out = Path(out)
    files = sources.expand(inputs, besides=out)
    options = {
        "separator": separator or "",
        "separator_at": separator_at,
        "text_field": text_field,
        "inputs": input_names(files),
    }
    mark = separator_id(tokenizer, separator)
    with ShardWriter(
        out,
        tokenizer=tokenizer,
        bos=mark if separator_at == "start" else None,
        eos=mark if separator_at == "end" else None,
        shard_tokens=shard_tokens,
        options=options,
        force=force,
        _journal=input_key(files, tokenizer, options, shard_tokens),
    ) as writer:
        if not writer.complete:
            encode_into(writer, files, tokenizer, separator, text_field, threads, progress)
    return ShardReader(out)


BATCH_BYTES = 1 << 20
"""Text that one thread encodes at a time."""
MOST_WAITING = 64
"""So many batches are encoded at most before the writer has begun."""


class Sink(Protocol):
    """What takes encoded documents: a ``ShardWriter``, or a work item."""

    @property
    def resumed_documents(self) -> int: ...
    def _begin(self) -> None: ...
    def _write_batch(self, batch: EncodedBatch, /) -> None: ...


def separator_id(tokenizer: Tokenizer, separator: str | None) -> int | None:
    """Return the id that stands between documents; None where there is no such token."""
    ids = {token.content: token.id for token in tokenizer.added_tokens}
    return ids.get(separator) if separator else None


def check_documents(count: int, separator: str | None, mark: int | None) -> None:
    """Raise TokenizerError if there are several documents, and no token to put between them."""
    if separator and mark is None and count > 1:
        raise TokenizerError(
            f"there are several documents, but the tokenizer has no special token {separator!r} to put "
            "between them; train it with this token, name another, or pass None to put nothing there"
        )


def encode_into(
    writer: Sink,
    files: Sequence[sources.Input],
    tokenizer: Tokenizer,
    separator: str | None,
    text_field: str,
    threads: int | None,
    progress: Progress | None,
) -> None:
    """Encode the documents of files, and write them while the next ones are encoded."""
    read = 0
    mark = separator_id(tokenizer, separator)
    sizes = [None if file == sources.STANDARD_INPUT else sources.size(file) for file in files]
    total = sum(size for size in sizes if size is not None) if None not in sizes else None

    def report(count: int) -> None:
        nonlocal read
        read += count
        if progress:
            progress("sharding", read, total)

    def check(batch: DocumentBatch) -> None:
        check_documents(batch.begun, separator, mark)

    # No shard is begun before this is done, which takes as long as encoding several megabytes.
    beginning = pipeline.Task(writer._begin)
    waiting: deque[EncodedBatch] = deque()

    def write(batch: EncodedBatch) -> None:
        waiting.append(batch)
        if beginning.done or len(waiting) == MOST_WAITING:
            write_waiting()

    def write_waiting() -> None:
        beginning.result()
        while waiting:
            writer._write_batch(waiting.popleft())

    try:
        pipeline.each(
            tokenizer._core,
            files,
            write,
            separator=separator,
            text_field=text_field,
            batch_bytes=BATCH_BYTES,
            threads=threads,
            skip=writer.resumed_documents,
            report=report,
            check=check,
        )
        write_waiting()
    except BaseException:
        beginning.wait()
        raise


def input_names(files: Sequence[Name]) -> str:
    """Return the inputs in words that do not depend on the machine."""
    names = [
        remote.path_of(file).name if isinstance(file, str) and remote.is_remote(file) else Path(file).name
        for file in files
    ]
    if len(names) <= 8:
        return spelled(", ".join(names))
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{len(names)} files, sha256 of their names {digest}"


def input_key(
    files: Sequence[Name], tokenizer: Tokenizer, options: dict[str, str], shard_tokens: int
) -> bytes | None:
    """Return what must be equal for two runs to have the same input; None where that cannot be known."""
    if sources.STANDARD_INPUT in files:
        return None
    key = {
        "inputs": [sources.state(file) for file in files],
        "options": options,
        "shard_tokens": shard_tokens,
        "tokenizer": tokenizer.fingerprint,
    }
    return (json.dumps(key, indent=1) + "\n").encode()
