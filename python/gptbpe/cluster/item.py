"""One work item of a plan: some of the documents, as ids on disk.

An item is a folder: shards of the ids without separators, ``text_bytes.u64`` with the bytes of text of each
document, and ``item.json``, which says what is in the folder and holds the checksums. It is written under a
name of its own and renamed when it is whole, so an item may be killed, repeated, or made by two machines at
a time: one of the equal results is kept.

Where the plan says that items have shards of their own, the shards are written as the dataset's are, with
separators, and say all that the dataset's say but their number.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gptbpe import files
from gptbpe._core import EncodedBatch
from gptbpe.cluster.plan import Plan
from gptbpe.errors import ShardChecksumError, ShardError, ShardFormatError
from gptbpe.shards.build import encode_into, separator_id
from gptbpe.shards.reader import ShardReader
from gptbpe.shards.writer import ShardWriter
from gptbpe.tokenizer import Tokenizer
from gptbpe.types import Progress

__all__ = ["Receipt", "dataset_writer", "item_shards", "make_item", "open_item", "receipt"]

RECEIPT = "item.json"
TEXT_BYTES = "text_bytes.u64"


@dataclass(frozen=True)
class Receipt:
    """What a finished item holds."""

    plan: str
    """The digest of the plan."""
    item: int
    """The number of the item, from 0."""
    documents: int
    tokens: int
    """Without separators."""
    text_bytes: int
    shards: str
    """The fingerprint of the item's shards."""
    text_bytes_sha256: str
    """Of the file of that name."""


def make_item(
    plan: Plan, number: int, *, threads: int | None = None, progress: Progress | None = None
) -> Receipt:
    """Encode the documents of a work item, unless that was done already.

    Any process on any machine may do it, several times and at the same time: the files are the same.

    Args:
        plan: the plan.
        number: the number of the item, from 0.
        threads: for encoding; None for one per core.
        progress: called as ``progress("sharding", bytes_read, total_bytes_or_None)``.

    Raises:
        ShardError: there is no such item.
        ShardMismatchError: an input has changed since the plan was made.
        TokenizerError: there are several documents, and the tokenizer has no token to put between them.
    """
    if not 0 <= number < len(plan.items):
        raise ShardError(f"the plan has {len(plan.items)} work items, numbered from 0; there is no {number}")
    if (done := receipt(plan, number)) is not None:
        return done
    plan.check_inputs(number)
    tokenizer = plan.tokenizer()
    target = _folder(plan, number)
    attempt = plan.folder / f".attempt-{number:05}-{uuid.uuid4().hex}"
    try:
        with (
            _writer(plan, number, tokenizer, attempt) as writer,
            files.opened_atomically(attempt / TEXT_BYTES) as write,
        ):
            sink = _Sink(writer, write)
            inputs = plan.items[number]
            encode_into(sink, inputs, tokenizer, plan.separator, plan.text_field, threads, progress)
        plan.check_inputs(number)
        reader = ShardReader(attempt)
        done = Receipt(
            plan=plan.digest,
            item=number,
            documents=sink.documents,
            tokens=reader.total_tokens - separators(plan, tokenizer) * sink.documents,
            text_bytes=sink.text_bytes,
            shards=reader.fingerprint,
            text_bytes_sha256=sink.sha256.hexdigest(),
        )
        files.write_atomically(attempt / RECEIPT, (json.dumps(asdict(done), indent=1) + "\n").encode())
        del reader
        _publish(attempt, target)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
    return done


def _writer(plan: Plan, number: int, tokenizer: Tokenizer, folder: Path) -> ShardWriter:
    """Return what writes the shards of an item."""
    if plan.own_shards:
        return dataset_writer(plan, tokenizer, folder)
    options = {"plan": plan.digest, "item": str(number)}
    return ShardWriter(folder, vocab_size=tokenizer.vocab_size, options=options)


def dataset_writer(
    plan: Plan, tokenizer: Tokenizer, folder: Path, *, force: bool = False, journal: bytes | None = None
) -> ShardWriter:
    """Return what writes the dataset of a plan, or a part of it."""
    mark = separator_id(tokenizer, plan.separator)
    return ShardWriter(
        folder,
        tokenizer=tokenizer,
        bos=mark if plan.separator_at == "start" else None,
        eos=mark if plan.separator_at == "end" else None,
        shard_tokens=plan.shard_tokens,
        options=plan.options,
        force=force,
        _journal=journal,
    )


def separators(plan: Plan, tokenizer: Tokenizer) -> int:
    """How many tokens each document of an item has besides its own."""
    return int(plan.own_shards and separator_id(tokenizer, plan.separator) is not None)


def receipt(plan: Plan, number: int) -> Receipt | None:
    """Return what a finished item holds; None if it is not finished.

    Raises:
        ShardFormatError: its receipt is damaged.
    """
    path = _folder(plan, number) / RECEIPT
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = Receipt(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise ShardFormatError(f"{path} is damaged; remove {path.parent} and make the item again") from error
    if (found.plan, found.item) != (plan.digest, number):
        raise ShardFormatError(f"{path} is of another item; remove {path.parent} and make the item again")
    return found


def open_item(plan: Plan, number: int, of: Receipt) -> tuple[ShardReader, npt.NDArray[np.uint64]]:
    """Return the ids of a finished item, and the bytes of text of each of its documents.

    Raises:
        ShardError: what is there is not what the receipt says.
    """
    folder = _folder(plan, number)
    reader = ShardReader(folder)
    if reader.fingerprint != of.shards:
        raise ShardChecksumError(f"{folder} is not what was made; remove it and make the item again", folder)
    path = folder / TEXT_BYTES
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != of.text_bytes_sha256:
        raise ShardChecksumError(f"{path} is damaged; remove its folder and make the item again", path)
    if not of.documents:
        return reader, np.zeros(0, np.uint64)
    return reader, np.memmap(path, "<u8", "r", shape=(of.documents,))


def item_shards(plan: Plan, number: int, of: Receipt) -> list[tuple[Path, int, int]]:
    """Return the shards of a finished item that has its own: the file of each, its documents and tokens.

    Raises:
        ShardError: what is there is not what the receipt says.
    """
    reader, _ = open_item(plan, number, of)
    listed = json.loads((_folder(plan, number) / "manifest.json").read_bytes())["shards"]
    counts = [(int(shard["documents"]), int(shard["tokens"])) for shard in listed]
    return [(shard.path, *count) for shard, count in zip(reader.shards, counts, strict=True)]


def _folder(plan: Plan, number: int) -> Path:
    return plan.folder / f"item-{number:05}-{plan.digest[:16]}"


def _publish(attempt: Path, target: Path) -> None:
    """Give a folder its name, unless another attempt was faster."""
    while True:
        try:
            attempt.rename(target)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if (target / RECEIPT).exists():
            return
        # Somebody began to remove the folder: what is left of it is no item.
        left = attempt.with_name(f"{attempt.name}-left")
        with contextlib.suppress(FileNotFoundError):
            target.rename(left)
        shutil.rmtree(left, ignore_errors=True)
    if os.name == "nt":  # cannot flush a folder
        return
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class _Sink:
    """Writes ids as shards, and bytes of text of whole documents as numbers."""

    resumed_documents = 0

    def __init__(self, writer: ShardWriter, write: Callable[[bytes], object]) -> None:
        self._writer = writer
        self._write = write
        self._open: int | None = None
        """Bytes of the document of which parts have come, but not the last."""
        self.sha256 = hashlib.sha256()
        self.documents = 0
        self.text_bytes = 0

    def _begin(self) -> None:
        pass

    def _write_batch(self, batch: EncodedBatch) -> None:
        sizes = batch.text_bytes
        if len(sizes) and batch.continues:
            sizes[0] += self._open or 0
        self._open = None
        if len(sizes) and batch.open:
            self._open = int(sizes[-1])
            sizes = sizes[:-1]
        self._add(sizes)
        self._writer._write_batch(batch)

    def _add(self, sizes: npt.NDArray[np.uint64]) -> None:
        data = sizes.astype("<u8").tobytes()
        self.sha256.update(data)
        self._write(data)
        self.documents += len(sizes)
        self.text_bytes += int(sizes.sum())
