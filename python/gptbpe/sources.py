"""Text readers: from files of several kinds to documents, one after another, in memory that does not grow.

========================  =====================================================================
``.parquet``              a document per row: the column ``text_field``
``.jsonl .ndjson .json``  a document per line: the field ``text_field`` of its JSON object
anything else             text: a document per file, or what lies between separators
========================  =====================================================================

A file may also lie at ``s3://``, ``gs://`` or ``https://`` (:mod:`gptbpe.io.remote`).

``.gz`` and ``.zst`` may follow any of these but ``.parquet``, which compresses by itself. A document is
bytes; what is not UTF-8 is kept as it is. Errors name the file, and the line or row. A file that was cut
is an error, also where its decompressor would say nothing.
"""

from __future__ import annotations

import glob
import os
import sys
import warnings
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt

from gptbpe import extras, json_lines
from gptbpe._core import DocumentBatch, DocumentBuffer
from gptbpe.errors import MissingExtraError, TextError
from gptbpe.io import STANDARD_INPUT, STANDARD_PATH, FileRange, remote
from gptbpe.sniff import HEAD_BYTES, warn_if_not_text

__all__ = [
    "STANDARD_INPUT",
    "STANDARD_PATH",
    "Input",
    "are_regular",
    "batches",
    "documents",
    "expand",
    "fill",
    "kind_of",
    "size",
]

Name = str | os.PathLike[str]
Input = Name | FileRange
"""What is read: a file, or a part of one."""
Report = Callable[[int], None]

BLOCK_BYTES = 1 << 20
ZSTANDARD_BYTES = 16 << 10
"""So much of a compressed file is decompressed at a time."""
BATCH_BYTES = 4 << 20
"""Text that is encoded at a time: so little that it is still in the cache when it is encoded."""
LINES = {".jsonl", ".ndjson", ".json"}
PLAIN = {".txt", ".text", ".md"}
COMPRESSED = {".gz", ".zst"}


def expand(inputs: Name | Iterable[Name], besides: Path | None = None) -> list[Name]:
    """Return the files that are meant.

    Folders become what is in them and patterns what they match, sorted by name. In folders, files of kinds
    that are listed above are taken (of plain text: ``.txt``, ``.text`` and ``.md``), hidden ones and those
    in ``besides`` are not; others are left out with a warning.

    Raises:
        FileNotFoundError: a name or pattern that nothing has, a folder without text.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.txt", "a.jsonl.gz"):
    ...     (folder / name).touch()
    >>> [Path(path).name for path in expand(folder)]
    ['a.jsonl.gz', 'b.txt']
    """
    names = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    files: list[Name] = []
    for name in names:
        if name == STANDARD_INPUT:
            files.append(STANDARD_INPUT)
        elif isinstance(name, str) and remote.is_remote(name):
            files += remote.expand(name, lambda url: kind_of(url)[0] in LINES | PLAIN | {".parquet"})
        elif Path(name).is_dir():
            files += _in_folder(Path(name), besides)
        elif Path(name).exists() or not glob.has_magic(os.fspath(name)):
            Path(name).stat()  # says what is wrong with it before any work is done
            files.append(Path(name))
        else:
            found = sorted(glob.glob(os.fspath(name), recursive=True))  # noqa: PTH207 - it may be absolute
            if not found:
                raise FileNotFoundError(2, "no file matches", os.fspath(name))
            files += [Path(path) for path in found if Path(path).is_file()]
    return files


def _in_folder(folder: Path, besides: Path | None) -> list[Path]:
    excluded = besides.resolve() if besides else None
    every = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (excluded is None or excluded not in path.resolve().parents)
    ]
    known = LINES | PLAIN | {".parquet"}
    wanted = [path for path in every if kind_of(path)[0] in known]
    if not wanted:
        raise FileNotFoundError(2, "no text files (.txt .jsonl .parquet) in", str(folder))
    if left := [path for path in every if path not in set(wanted)]:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        shown = ", ".join(path.name for path in left[:3])
        warnings.warn(f"{folder}: left out {shown}{more}; name them to have them read as text", stacklevel=4)
    return wanted


def documents(
    file: Input,
    *,
    separator: str | None = None,
    text_field: str = "text",
    report: Report = lambda _: None,
) -> Iterator[bytes]:
    r"""Yield the documents of a file, or of standard input (``"-"``), which is plain text.

    Plain text is cut wherever ``separator`` stands; when that is a whole line, its line break goes with
    it. Nothing follows a separator at the end of the file, and nothing is in an empty file. With None the
    file is one document. ``report`` is called with numbers of bytes that were read, of the file as it is
    on disk.

    Raises:
        TextError: a line that is no JSON object with that field, a lone surrogate, a damaged or cut file.
        MissingExtraError: Parquet without pyarrow.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.txt"
    >>> _ = path.write_text("one\n<|endoftext|>\ntwo\n")
    >>> list(documents(path, separator="<|endoftext|>"))
    [b'one\n', b'two\n']
    """
    kind, compression = kind_of(file)
    if kind == ".parquet":
        yield from _rows(file, text_field, report)
        return
    blocks = _decompressed(file, compression, report)
    if kind in LINES:
        yield from json_lines.documents(blocks, str(file), text_field)
        return
    blocks = _as_text(file, blocks)
    if separator is None:
        if whole := b"".join(blocks):
            yield whole
    else:
        yield from _split(blocks, separator.encode())


def batches(
    files: Iterable[Input],
    buffer: DocumentBuffer,
    *,
    text_field: str = "text",
    as_text: bool = False,
    report: Report = lambda _: None,
) -> Iterator[DocumentBatch]:
    """Yield the documents of files in batches, without a Python object for each document.

    They are the documents of :func:`documents`; ``buffer`` has the separator and the size of a batch. A
    document that is longer than a batch comes in parts, where the tokenizer of the buffer allows it. With
    ``as_text`` all files are plain text, which may be compressed, whatever else their names say.
    """
    for file in files:
        for _ in _filled(file, buffer, text_field, as_text, report):
            while buffer.full:
                if (batch := buffer.take()) is not None:
                    yield batch
        buffer.end_file()
    while (batch := buffer.take()) is not None:
        yield batch


def are_regular(files: Iterable[Input]) -> bool:
    """Whether no file is a pipe, a terminal or another thing that one may have to wait for."""
    return all(
        file != STANDARD_INPUT and not remote.is_remote(file) and _local(file).is_file() for file in files
    )


def size(file: Input) -> int:
    """Return how many bytes are to be read of a file or a part of one, as they lie on disk."""
    if isinstance(file, FileRange) and kind_of(file)[0] != ".parquet":
        return file.stop - file.start
    if isinstance(file, str) and remote.is_remote(file):
        return remote.size(file)
    return _local(file).stat().st_size


def state(file: Name) -> tuple[str, int, int | str]:
    """Return what tells a file from a changed one: its name, its size, and a time or an entity tag."""
    if isinstance(file, str) and remote.is_remote(file):
        return (file, *remote.state(file))
    found = Path(file).stat()
    return str(Path(file).absolute()), found.st_size, found.st_mtime_ns


def _local(file: Input) -> Path:
    return file.path if isinstance(file, FileRange) else Path(file)


def _opened(file: Input, buffering: int) -> BinaryIO:
    if isinstance(file, str) and remote.is_remote(file):
        return remote.opened(file)
    return _local(file).open("rb", buffering=buffering)


class Sink(Protocol):
    """What takes text and documents as they are read: a ``DocumentBuffer``, or a ``WordCounter``."""

    def open(self, path: Path, /) -> None: ...
    def read(self, most: int, /) -> int: ...
    def push(self, text: bytes, /) -> None: ...
    def push_document(self, document: bytes, /) -> None: ...
    def push_documents(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], /) -> None: ...


def fill(file: Input, sink: Sink, *, text_field: str = "text", report: Report = lambda _: None) -> None:
    r"""Put the text of a file into a sink; :func:`documents` says what is in which file, and what it raises.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.jsonl"
    >>> _ = path.write_text('{"text": "one"}\n{"text": "two"}\n')
    >>> buffer = DocumentBuffer(None, 1 << 20, None, (), 0)
    >>> fill(path, buffer)
    >>> buffer.take().documents()
    [b'one', b'two']
    """
    for _ in _filled(file, sink, text_field, False, report):
        pass


def _filled(file: Input, buffer: Sink, text_field: str, as_text: bool, report: Report) -> Iterator[None]:
    """Put a file into a buffer bit by bit."""
    kind, compression = kind_of(file)
    kind = None if as_text else kind
    if kind == ".parquet":
        for text, offsets in _columns(file, text_field, report):
            buffer.push_documents(text, offsets)
            yield
    elif kind in LINES:
        for document in json_lines.documents(_decompressed(file, compression, report), str(file), text_field):
            buffer.push_document(document)
            yield
    elif compression is None and not isinstance(file, FileRange) and are_regular([file]):
        with Path(file).open("rb") as opened:
            warn_if_not_text(file, opened.read(HEAD_BYTES))
        buffer.open(Path(file))
        while count := buffer.read(BLOCK_BYTES):
            report(count)
            yield
    else:
        for block in _as_text(file, _decompressed(file, compression, report)):
            buffer.push(block)
            yield


def _as_text(file: Input, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass plain text on; warn where its first block is hardly text."""
    first = next(blocks, b"")
    warn_if_not_text("standard input" if file in (STANDARD_INPUT, STANDARD_PATH) else file, first)
    yield first
    yield from blocks


def kind_of(file: Input) -> tuple[str | None, str | None]:
    """Return the suffix that says what is in a file, and the one that says how it is compressed."""
    if file == STANDARD_INPUT:
        return None, None
    path: PurePath = (
        remote.path_of(file) if isinstance(file, str) and remote.is_remote(file) else _local(file)
    )
    suffix = path.suffix.lower()
    if suffix in COMPRESSED:
        return path.with_suffix("").suffix.lower(), suffix
    return suffix, None


def _blocks(file: Input, report: Report) -> Iterator[bytes]:
    if isinstance(file, FileRange):
        for block in file.blocks(BLOCK_BYTES):
            report(len(block))
            yield block
        return
    if file in (STANDARD_INPUT, STANDARD_PATH):
        while block := sys.stdin.buffer.read(BLOCK_BYTES):
            report(len(block))
            yield block
        return
    with _opened(file, 0) as opened:
        while block := opened.read(BLOCK_BYTES):
            report(len(block))
            yield block


def _decompressed(file: Input, compression: str | None, report: Report) -> Iterator[bytes]:
    blocks = _blocks(file, report)
    if compression is None:
        return blocks
    if compression == ".gz":
        return _frames(blocks, str(file), lambda: zlib.decompressobj(wbits=31), _inflated, zlib.error)
    import zstandard

    context = zstandard.ZstdDecompressor()
    return _frames(blocks, str(file), context.decompressobj, _in_small_parts, zstandard.ZstdError)


Decompressed = Generator[bytes, None, bytes]
"""What a block holds, bit by bit; returns what follows the end of its frame."""


def _inflated(frame: Any, data: bytes) -> Decompressed:
    """Decompress a block of gzip, of which a thousand times as much may come, a block at a time."""
    found = frame.decompress(data, BLOCK_BYTES)
    yield found
    while not frame.eof and (frame.unconsumed_tail or len(found) == BLOCK_BYTES):
        found = frame.decompress(frame.unconsumed_tail, BLOCK_BYTES)
        yield found
    return cast("bytes", frame.unused_data)


def _in_small_parts(frame: Any, data: bytes) -> Decompressed:
    """Decompress a block of Zstandard, which gives all that a part holds at once."""
    for start in range(0, len(data), ZSTANDARD_BYTES):
        end = start + ZSTANDARD_BYTES
        yield frame.decompress(data[start:end])
        if frame.eof:
            return cast("bytes", frame.unused_data) + data[end:]
    return b""


def _frames(
    blocks: Iterator[bytes],
    name: str,
    start: Callable[[], Any],
    decompressed: Callable[[Any, bytes], Decompressed],
    damage: type[Exception],
) -> Iterator[bytes]:
    """Decompress frame after frame; the end of the file must be the end of one."""
    frame: Any = None
    try:
        for block in blocks:
            rest = block
            while rest:
                frame = frame or start()
                rest = yield from decompressed(frame, rest)
                if frame.eof:
                    frame = None
                    rest = rest.lstrip(b"\0")  # gzip allows padding, zstandard frames never begin with it
    except damage as error:
        raise TextError(f"{name} is damaged: {error}; fetch or compress it again") from error
    if frame is not None:
        raise TextError(f"{name} ends in the middle of its compressed data: it was cut; fetch it again")


def _rows(file: Input, field: str, report: Report) -> Iterator[bytes]:
    for text, offsets in _columns(file, field, report):
        for start, end in pairwise(offsets.tolist()):
            yield text[start:end].tobytes()


def import_parquet(path: object) -> tuple[Any, Any]:
    """Return ``pyarrow`` and ``pyarrow.parquet``, which read ``path``.

    Raises:
        MissingExtraError: they are not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            f"{path} needs pyarrow to be read; install it with: {extras.install('parquet')}"
        ) from error
    return pyarrow, parquet


def _columns(
    part: Input, field: str, report: Report
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Yield the text of some rows after one another, and where each begins and ends in it."""
    path = part.path if isinstance(part, FileRange) else part
    pyarrow, parquet = import_parquet(path)
    try:
        with _opened(path, -1) as opened, parquet.ParquetFile(opened) as file:
            if field not in file.schema_arrow.names:
                raise TextError(
                    f"{path}: no column {field!r}; there are {_listed(file.schema_arrow.names)}; "
                    "choose with text_field"
                )
            kind = file.schema_arrow.field(field).type
            types = pyarrow.types
            if not (
                types.is_string(kind)
                or types.is_large_string(kind)
                or types.is_binary(kind)
                or types.is_large_binary(kind)
            ):
                raise TextError(f"{path}: column {field!r} is {kind}, expected strings")
            metadata = file.metadata
            first, last = (part.start, part.stop) if isinstance(part, FileRange) else (0, file.num_row_groups)
            number = sum(metadata.row_group(group).num_rows for group in range(first))
            total, rows = size(path), max(1, metadata.num_rows)
            groups = list(range(first, last))
            for batch in file.iter_batches(batch_size=1024, row_groups=groups, columns=[field]):
                # As binary: what is not UTF-8 is not to be decoded.
                column = batch.column(0).cast(pyarrow.large_binary())
                if column.null_count:
                    row = number + 1 + column.is_null().to_pylist().index(True)
                    raise TextError(f"{path}, row {row}: {field!r} is null, expected a string")
                _, ends, text = column.buffers()
                offsets = np.frombuffer(ends, np.int64, len(column) + 1, 8 * column.offset)
                yield np.frombuffer(text or b"", np.uint8), offsets
                done, number = number, number + batch.num_rows
                report(total * number // rows - total * done // rows)
    except pyarrow.ArrowException as error:
        raise TextError(f"{path} is damaged or no Parquet file: {error}") from error


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "") if listed else "none"


def _split(blocks: Iterable[bytes], mark: bytes) -> Iterator[bytes]:
    """Cut text at a mark; see :func:`documents`."""
    buffer = DocumentBuffer(mark, BATCH_BYTES, None, (), 0)
    for block in blocks:
        buffer.push(block)
        if (batch := buffer.take()) is not None:
            yield from batch.documents()
    buffer.end_file()
    if (batch := buffer.take()) is not None:
        yield from batch.documents()
