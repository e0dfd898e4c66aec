"""The last step of a plan: the items become one dataset, the same bytes as one machine makes.

Where shards end depends on all documents before them, so the ids are copied once more, in the order of the
documents, by the writer that also one machine uses. That goes at the speed of the disk. The shards of items
that have their own are taken over instead: each gets its number in the dataset, and its tokens stay where
they are.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gptbpe.cluster.item import Receipt, dataset_writer, item_shards, open_item, receipt
from gptbpe.cluster.plan import FOLDER, Plan
from gptbpe.errors import ShardError
from gptbpe.shards.build import check_documents, separator_id
from gptbpe.shards.reader import ShardReader
from gptbpe.shards.writer import ShardWriter
from gptbpe.types import Progress

__all__ = ["join", "missing", "tidy"]

REMOVED = ".plan.removed"

CHUNK_TOKENS = 1 << 22
"""So many tokens are copied at a time."""
CHUNK_DOCUMENTS = 1 << 16

Chunk = tuple[npt.NDArray[np.generic], npt.NDArray[np.int64], npt.NDArray[np.int64], bool]
"""Ids, where documents begin and end among them, their bytes of text, and whether the last one goes on."""


def missing(plan: Plan) -> list[int]:
    """Return the numbers of the items that are not finished."""
    return [number for number in range(len(plan.items)) if receipt(plan, number) is None]


def join(
    plan: Plan, *, force: bool = False, keep: bool = False, progress: Progress | None = None
) -> ShardReader:
    """Make the dataset of a plan's finished items, and open it.

    Interrupted, the same call goes on with what is missing. The plan and its items are removed when the
    dataset is whole.

    Args:
        plan: the plan.
        force: replace other shards in the folder; they can be read until the new ones are whole.
        keep: leave the plan and its items.
        progress: called as ``progress("joining", tokens_done, tokens_in_all)``.

    Raises:
        ShardError: items are missing; the message has their numbers.
        ShardChecksumError: an item is damaged.
        ShardExistsError: the folder holds other shards, and ``force`` is not set.
    """
    receipts = [receipt(plan, number) for number in range(len(plan.items))]
    done = [each for each in receipts if each is not None]
    if len(done) < len(receipts):
        numbers = [number for number, each in enumerate(receipts) if each is None]
        shown = ", ".join(map(str, numbers[:16])) + (", …" if len(numbers) > 16 else "")
        raise ShardError(
            f"{len(numbers)} of {len(receipts)} work items are missing: {shown}; make them, then join"
        )
    tokenizer = plan.tokenizer()
    mark = separator_id(tokenizer, plan.separator)
    check_documents(sum(each.documents for each in done), plan.separator, mark)
    with dataset_writer(plan, tokenizer, plan.out, force=force, journal=plan.journal) as writer:
        if not writer.complete:
            writer._begin()
            (_take_over if plan.own_shards else _copy)(plan, done, writer, progress)
    if not keep and _is_there(plan):
        _remove(plan.out)
    return ShardReader(plan.out)


def _is_there(plan: Plan) -> bool:
    """Whether it is this plan that lies in its folder: another may have been made meanwhile."""
    try:
        return Plan.load(plan.out).digest == plan.digest
    except FileNotFoundError:  # another process was faster
        return False


def tidy(out: Path) -> None:
    """Remove what is left of a plan whose removal was interrupted."""
    shutil.rmtree(out / REMOVED, ignore_errors=True)


def _remove(out: Path) -> None:
    """Remove a plan and its items, so that at every moment there is all of it or nothing."""
    tidy(out)
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        (out / FOLDER).rename(out / REMOVED)
    tidy(out)


def _copy(plan: Plan, receipts: list[Receipt], writer: ShardWriter, progress: Progress | None) -> None:
    """Write the documents of all items, but those that are there."""
    total = sum(each.tokens for each in receipts)
    copied = 0
    for ids, offsets, text_bytes, goes_on in _chunks(plan, receipts, writer.resumed_documents):
        writer._core.write_ragged(ids, offsets, text_bytes, goes_on)
        copied += len(ids)
        if progress:
            progress("joining", copied, total)


def _take_over(plan: Plan, receipts: list[Receipt], writer: ShardWriter, progress: Progress | None) -> None:
    """Make the shards of all items shards of the dataset, but those that are there."""
    skip = writer.resumed_documents
    shards = [shard for number, of in enumerate(receipts) for shard in item_shards(plan, number, of)]
    total = sum(tokens for _, _, tokens in shards)
    done = 0
    for path, documents, tokens in shards:
        if documents > skip:
            writer._core.adopt(path)
        skip = max(skip - documents, 0)
        done += tokens
        if progress:
            progress("joining", done, total)


def _chunks(plan: Plan, receipts: list[Receipt], skip: int) -> Iterator[Chunk]:
    """Yield the documents of all items but the first ``skip``, some of them or a part of one at a time."""
    for number, of in enumerate(receipts):
        if skip >= of.documents:
            skip -= of.documents
            continue
        reader, text_bytes = open_item(plan, number, of)
        for shard in range(len(reader.shards)):
            ends = reader.documents(shard).astype(np.int64)
            sizes, text_bytes = text_bytes[: len(ends)].astype(np.int64), text_bytes[len(ends) :]
            if skip < len(ends):
                yield from _of_shard(reader, shard, ends, sizes, skip)
            skip = max(skip - len(ends), 0)


def _of_shard(
    reader: ShardReader,
    shard: int,
    ends: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    first: int,
) -> Iterator[Chunk]:
    while first < len(ends):
        begin = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, begin + CHUNK_TOKENS, "right"))
        last = min(last, first + CHUNK_DOCUMENTS)
        if last > first:
            ids = reader.tokens(shard, begin, int(ends[last - 1]))
            offsets = np.concatenate(([0], ends[first:last] - begin))
            yield ids, offsets, sizes[first:last], False
            first = last
            continue
        end = int(ends[first])
        for start in range(begin, end, CHUNK_TOKENS):
            ids = reader.tokens(shard, start, min(start + CHUNK_TOKENS, end))
            ended = start + CHUNK_TOKENS >= end
            size = sizes[first : first + 1] if ended else np.zeros(1, np.int64)
            yield ids, np.array([0, len(ids)]), size, not ended
        first += 1
