"""Token shards: tokenized text on disk, and the order in which training reads it.

:class:`ShardWriter` turns documents of ids into a folder of shards, :class:`ShardReader` opens such a folder,
and :class:`Sampler` says which tokens are training sample number *g*. :func:`shard_files` goes the whole way
from text files to shards.

A shard is a ``.bin`` file that llm.c, modded-nanogpt and ``numpy.memmap`` read as it is (1,024 bytes of
header, then uint16 or uint32), with a ``.gbx`` file beside it that holds document ends and checksums.
``manifest.json`` lists the shards and is written last: a folder without one is not finished. Every byte is
under a checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from gptbpe import pipeline, sources
from gptbpe._core import (
    CoreShardReader,
    CoreShardWriter,
    DocumentBatch,
    EncodedBatch,
    atomic_write,
)
from gptbpe.errors import ShardError, ShardMismatchError, TokenizerError
from gptbpe.sampler import Sampler
from gptbpe.types import END_OF_TEXT, Progress

if TYPE_CHECKING:
    from gptbpe.tokenizer import Tokenizer

__all__ = [
    "DEFAULT_SHARD_TOKENS",
    "Sampler",
    "Shard",
    "ShardReader",
    "ShardWriter",
    "shard_files",
]

DEFAULT_SHARD_TOKENS = 2**27
"""Tokens per shard: 256 MiB where the vocabulary fits in 16 bits, else 512 MiB."""

Name = str | os.PathLike[str]


@dataclass(frozen=True)
class Shard:
    """One shard of a dataset: its file, and how many tokens are in it."""

    path: Path
    tokens: int


class ShardReader:
    """A dataset of token shards, opened for reading; may be shared among threads.

    Opening reads the manifest only; a shard is opened when it is first needed.

    Args:
        path: a folder that ``gptbpe shard`` wrote, one ``.bin`` file of it, or token files of llm.c or
            modded-nanogpt (a file, or a folder of nothing else). For bare arrays of ids see :meth:`open_raw`.
        verify: what is checked against checksums. ``"lazy"``: each block of 1 MiB when it is first touched
            (once; 16 GB/s). ``"open"``: headers and sizes only, for cold storage where reading whole
            blocks is dear. ``"full"``: everything, now. Ids outside the vocabulary are found in any case.
        io: ``"mmap"``, or ``"pread"`` for network file systems and wherever files may be cut off while they
            are read: a map then ends the process with SIGBUS, reading raises an error. (Files written by this
            package are only ever replaced as a whole, which maps survive.)
        vocab_size: the vocabulary of files that do not state one; ours do.

    Raises:
        FileNotFoundError: nothing there.
        ShardTruncatedError: a file is not exactly as long as it should be.
        ShardChecksumError: a header, an index or a block of tokens is damaged, or of another run.
        ShardFormatError: of a later version, or writing was not finished.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder, vocab_size=300, eos=299) as writer:
    ...     writer.write([72, 105])
    ...     writer.write([33])
    >>> reader = ShardReader(folder)
    >>> reader.tokens(0).tolist(), reader.documents(0).tolist()
    ([72, 105, 299, 33, 299], [3, 5])
    """

    def __init__(
        self,
        path: Name,
        *,
        verify: Literal["open", "lazy", "full"] = "lazy",
        io: Literal["mmap", "pread"] = "mmap",
        vocab_size: int | None = None,
    ) -> None:
        self._core = CoreShardReader.open(Path(path), verify, io, vocab_size)
        self._arguments: tuple[Any, ...] = (path, verify, io, vocab_size)

    @classmethod
    def open_raw(
        cls,
        path: Name,
        dtype: Literal["uint16", "uint32"],
        vocab_size: int,
        *,
        io: Literal["mmap", "pread"] = "mmap",
    ) -> Self:
        """Open a file that is nothing but ids, such as nanoGPT's ``train.bin``; its type is never guessed.

        Raises:
            ShardTruncatedError: the file does not hold a whole number of ids.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train.bin"
        >>> np.array([5, 6, 7], dtype=np.uint16).tofile(path)
        >>> ShardReader.open_raw(path, "uint16", vocab_size=8).tokens(0).tolist()
        [5, 6, 7]
        """
        self = cls.__new__(cls)
        self._core = CoreShardReader.open_raw(Path(path), np.dtype(dtype).name, vocab_size, io)
        self._arguments = ("raw", path, dtype, vocab_size, io)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what to open, for other processes."""
        return _reopen, (type(self), self._arguments)

    def __repr__(self) -> str:
        """Say what is open."""
        return (
            f"ShardReader({str(self.path)!r}: {self.total_tokens:,} tokens in {len(self.shards)} shards, "
            f"vocabulary {self.vocab_size:,})"
        )

    @property
    def path(self) -> Path:
        """The folder or file."""
        return self._core.path

    @property
    def shards(self) -> list[Shard]:
        """The shards in order."""
        return [Shard(path, tokens) for path, tokens in self._core.shards()]

    @property
    def total_tokens(self) -> int:
        """Tokens in all shards, separators included."""
        return self._core.total_tokens

    @property
    def vocab_size(self) -> int:
        """One more than the largest id allowed; what the type holds for files that do not say."""
        return self._core.vocab_size or int(np.iinfo(self.dtype).max) + 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a token on disk: uint16, or uint32 for vocabularies above 65,536."""
        return np.dtype(self._core.dtype)

    @property
    def tokenizer_fingerprint(self) -> str:
        """Fingerprint of the tokenizer that made the ids; empty where it is not stated."""
        return self._core.fingerprint or ""

    @property
    def fingerprint(self) -> str:
        """Names the content: SHA-256 of the manifest."""
        return self._core.digest

    @property
    def text_bytes(self) -> int | None:
        """Bytes of text that the tokens stand for, without separators: for bits per byte. None: unknown."""
        return self._core.source_bytes

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest; empty for files without one."""
        data = self._core.manifest
        manifest: dict[str, Any] = json.loads(data) if data else {}
        return manifest

    def tokens(self, shard: int, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Return tokens ``start`` to ``stop`` of a shard as a read-only array.

        It is a view of the map, which it keeps alive (with ``io="pread"`` a copy). Its shape is (stop -
        start,), its type :attr:`dtype`.

        Raises:
            ShardError: the range does not lie within the shard.
        """
        return self._core.tokens(shard, start, self._length(shard) if stop is None else stop)

    def documents(self, shard: int) -> npt.NDArray[np.uint32]:
        """Return where each document of a shard ends, in tokens from its start: uint32, ascending.

        Raises:
            ShardError: the files do not say (llm.c's, raw ones).
        """
        ends = self._core.documents(shard)
        if ends is None:
            raise ShardError(f"{self.path} does not say where its documents end; only shards of gptbpe do")
        return ends

    def tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer stored beside the shards, if there is one.

        Raises:
            ShardChecksumError: ``tokenizer.json`` is not the one that was stored.
            ShardMismatchError: it is not the tokenizer that made the ids.
        """
        from gptbpe.tokenizer import Tokenizer

        data = self._core.tokenizer_json()
        if data is None:
            return None
        tokenizer = Tokenizer.from_bytes(data, str(self.path / "tokenizer.json"))
        self.expect_tokenizer(tokenizer)
        return tokenizer

    def expect_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Raise ShardMismatchError, with both fingerprints, when another tokenizer made the ids."""
        self._core.expect_fingerprint(tokenizer.fingerprint)

    def check(self, shard: int) -> None:
        """Read all of a shard and check all that can be checked, or raise ShardError; releases the GIL."""
        self._core.check(shard)

    def _length(self, shard: int) -> int:
        shards = self._core.shards()
        return shards[shard][1] if 0 <= shard < len(shards) else 0


def _reopen(cls: type[ShardReader], arguments: tuple[Any, ...]) -> ShardReader:
    if arguments[0] == "raw":
        _, path, dtype, vocab_size, io = arguments
        return cls.open_raw(path, dtype, vocab_size, io=io)
    path, verify, io, vocab_size = arguments
    return cls(path, verify=verify, io=io, vocab_size=vocab_size)


class ShardWriter:
    """Writes documents of ids as a folder of shards. A context manager: leaving it without an error finishes.

    Each shard appears whole when it is full, the manifest last; what a crash leaves is a folder without a
    manifest, which no reader opens. The same documents and options give the same bytes on any machine.

    Args:
        path: the folder; made if it is not there.
        vocab_size: ids are below it; ``tokenizer`` says it, too.
        tokenizer: who made the ids: its fingerprint is stored, and the tokenizer itself beside the shards.
        bos: a token to put in front of every document (modded-nanogpt's convention).
        eos: a token to put after every document.
        shard_tokens: a shard is closed before it would exceed this. A longer document gets its own shard.
        options: how the documents came to be, in words; kept in the manifest.
        resume: keep the complete shards of an interrupted run with the same options. The caller then
            leaves out the first :attr:`resumed_documents` documents, and answers for them being the same
            as then.
        force: replace what is in the folder.

    Raises:
        ShardExistsError: the folder holds other shards.
        ShardLockedError: another process is writing there.
        OSError: the disk is full, the folder read-only, …; what was complete stays.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder, vocab_size=100) as writer:
    ...     writer.write(np.arange(50))
    >>> ShardReader(folder).total_tokens
    50
    """

    def __init__(
        self,
        path: Name,
        *,
        vocab_size: int | None = None,
        tokenizer: Tokenizer | None = None,
        bos: int | None = None,
        eos: int | None = None,
        shard_tokens: int = DEFAULT_SHARD_TOKENS,
        options: Mapping[str, str] | None = None,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        if vocab_size is None:
            if tokenizer is None:
                raise ShardError("ShardWriter needs vocab_size or tokenizer, to know which ids are valid")
            vocab_size = tokenizer.vocab_size
        self._tokenizer = tokenizer
        self._core = CoreShardWriter(
            Path(path),
            vocab_size,
            tokenizer.fingerprint if tokenizer else None,
            bos,
            eos,
            shard_tokens,
            dict(options or {}),
            resume,
            force,
        )

    @property
    def resumed_documents(self) -> int:
        """Documents that are on disk already, to be left out by the caller."""
        return self._core.resumed_documents

    @property
    def complete(self) -> bool:
        """Whether the whole dataset was there already: nothing is to be written."""
        return self._core.finished

    def write(self, ids: Iterable[int] | npt.NDArray[Any], text_bytes: int = 0) -> None:
        """Append one document, which stands for ``text_bytes`` bytes of text.

        Raises:
            UnknownTokenError: an id is not below ``vocab_size``; nothing of the document is written.
        """
        self._core.write(ids, text_bytes)

    def write_ragged(
        self,
        ids: npt.NDArray[Any],
        offsets: npt.NDArray[np.int64],
        text_bytes: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Append many documents, as ``Tokenizer.encode_ragged`` returns them.

        Document ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; it stands for ``text_bytes[i]`` bytes.
        """
        offsets = np.ascontiguousarray(offsets, np.int64)
        if text_bytes is None:
            text_bytes = np.zeros(max(0, len(offsets) - 1), np.int64)
        self._core.write_ragged(ids, offsets, np.ascontiguousarray(text_bytes, np.int64))

    def _write_batch(self, batch: EncodedBatch) -> None:
        self._core.write_batch(batch)

    def finish(self) -> dict[str, Any]:
        """Write the rest and the manifest, and return the manifest."""
        if not self.complete:
            self._store_tokenizer()
        manifest: dict[str, Any] = json.loads(self._core.finish())
        self._finished = True
        return manifest

    def _store_tokenizer(self) -> None:
        if self._tokenizer is not None:
            self._core.store_tokenizer(self._tokenizer.to_bytes())
            self._tokenizer = None

    _finished = False

    def close(self) -> None:
        """Stop without finishing; complete shards stay, for a later run with ``resume``."""
        self._core.close()

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish, or close when there was an error."""
        if kind is None and not self._finished:
            self.finish()
        self.close()


def shard_files(
    inputs: Name | Iterable[Name],
    tokenizer: Tokenizer,
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
            (:mod:`gptbpe.sources` has the kinds), ``"-"`` for standard input.
        tokenizer: turns text into ids; stored beside the shards.
        out: the folder.
        separator: a special token of the tokenizer. It cuts plain text into documents, and its id is put
            after every document. With None a plain text is one document, and no id stands between
            documents. A tokenizer without this token can still write a single document.
        separator_at: ``"start"`` puts the id in front of every document instead, as modded-nanogpt wants it.
        text_field: the field of JSON objects, the column of Parquet files.
        shard_tokens: a shard is closed before it would exceed this.
        threads: for encoding; None for one per core.
        progress: called as ``progress("sharding", bytes_read, total_bytes_or_None)``.
        force: replace other shards that are in the folder, and do all of the work again.

    Raises:
        FileNotFoundError: an input is not there (before anything is written).
        TextError: an input cannot be read; the message names file and line.
        TokenizerError: there are several documents, but the tokenizer has no such separator.
        ShardExistsError: the folder holds other shards, and ``force`` is not set.

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
    out = Path(out)
    files = sources.expand(inputs, besides=out)
    options = {
        "separator": separator or "",
        "separator_at": separator_at,
        "text_field": text_field,
        "inputs": _input_names(files),
    }
    marks = {token.content: token.id for token in tokenizer.added_tokens}
    mark = marks.get(separator) if separator else None
    key = _input_key(files, tokenizer, options, shard_tokens)
    journal = out / JOURNAL_NAME
    with ShardWriter(
        out,
        tokenizer=tokenizer,
        bos=mark if separator_at == "start" else None,
        eos=mark if separator_at == "end" else None,
        shard_tokens=shard_tokens,
        options=options,
        resume=key is not None and _read_or_none(journal) == key,
        force=force,
    ) as writer:
        if key is None:
            journal.unlink(missing_ok=True)

        def begin() -> None:
            if key is not None:
                atomic_write(journal, key)
            writer._store_tokenizer()

        if not writer.complete:
            _encode_all(writer, begin, files, tokenizer, separator, mark, text_field, threads, progress)
    return ShardReader(out)


JOURNAL_NAME = ".inputs.json"
"""Which inputs the shards in a folder were made of; only a run of the same ones takes over what is there."""

BATCH_BYTES = 1 << 20
"""Text that one thread encodes at a time."""


def _encode_all(
    writer: ShardWriter,
    begin: Callable[[], None],
    files: list[Name],
    tokenizer: Tokenizer,
    separator: str | None,
    mark: int | None,
    text_field: str,
    threads: int | None,
    progress: Progress | None,
) -> None:
    read = 0
    sizes = [None if file == sources.STANDARD_INPUT else Path(file).stat().st_size for file in files]
    total = sum(size for size in sizes if size is not None) if None not in sizes else None

    def report(count: int) -> None:
        nonlocal read
        read += count
        if progress:
            progress("sharding", read, total)

    def check(batch: DocumentBatch) -> None:
        if separator and mark is None and batch.begun > 1:
            raise TokenizerError(
                f"there are several documents, but the tokenizer has no special token {separator!r} to put "
                "between them; train it with this token, name another, or pass None to put nothing there"
            )

    groups = pipeline.groups(
        tokenizer._core,
        files,
        separator=separator,
        text_field=text_field,
        batch_bytes=BATCH_BYTES,
        threads=threads,
        skip=writer.resumed_documents,
        report=report,
        check=check,
    )

    def write(group: list[EncodedBatch]) -> None:
        group.reverse()
        while group:
            writer._write_batch(group.pop())

    # Nothing of a shard is there before this is done, which takes as long as encoding several megabytes.
    writing = pipeline.Task(begin)
    try:
        for group in groups:
            writing.result()
            writing = pipeline.Task(write, group)
        writing.result()
    except BaseException:
        writing.wait()
        raise


def _input_names(files: list[Name]) -> str:
    """The inputs in words that do not depend on the machine."""
    names = [Path(file).name for file in files]
    if len(names) <= 8:
        return ", ".join(names)
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{len(names)} files, sha256 of their names {digest}"


def _input_key(
    files: list[Name], tokenizer: Tokenizer, options: dict[str, str], shard_tokens: int
) -> bytes | None:
    """What must be equal for two runs to have the same input; None where that cannot be known."""
    if sources.STANDARD_INPUT in files:
        return None
    states = [(str(Path(file).absolute()), Path(file).stat()) for file in files]
    key = {
        "inputs": [[name, state.st_size, state.st_mtime_ns] for name, state in states],
        "options": options,
        "shard_tokens": shard_tokens,
        "tokenizer": tokenizer.fingerprint,
    }
    return (json.dumps(key, indent=1) + "\n").encode()


def _read_or_none(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
