"""Windows over a sequence of ids: inputs, and the same shifted by one as targets.

Two rules, each for its use. To train, a window is ``length`` inputs with all of their targets, ``length + 1``
ids in all; what is left at the end, less than a window, is dropped, as every sliding-window loader does. To
evaluate, nothing is dropped and nothing counted twice: the last window is moved back until it is whole, and
targets that an earlier window has scored are set to ``IGNORE_INDEX``. So the mean over evaluation windows is
the mean over the text, for any stride.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gptmodel.errors import DataError

if TYPE_CHECKING:
    from gptbpe import ShardReader, Tokenizer

__all__ = ["IGNORE_INDEX", "SlidingWindowDataset", "evaluation_windows", "window_count"]

IGNORE_INDEX = -1
"""The target that no loss counts."""

Ids = NDArray[np.generic]


def window_count(ids: int, length: int, stride: int) -> int:
    """How many whole windows of ``length`` inputs, ``stride`` apart, ``ids`` ids hold.

    >>> window_count(10, length=4, stride=2)
    3
    """
    return max(0, (ids - 1 - length) // stride + 1)


class SlidingWindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """Windows of ``max_length`` inputs, ``stride`` apart; item i is (inputs, targets), two int64 tensors
    (max_length,).

    ``text_or_ids`` is text (``tokenizer`` needed), a sequence of ids, or a ``ShardReader``, whose windows
    stay inside a shard. ``stride`` is ``max_length`` when left out: windows that touch and do not overlap.
    The last partial window is dropped. Raises DataError when not even one window fits.

    >>> windows = SlidingWindowDataset(range(10), None, max_length=4, stride=3)
    >>> len(windows), windows[1][0].tolist(), windows[1][1].tolist()
    (2, [3, 4, 5, 6], [4, 5, 6, 7])
    """

    def __init__(
        self,
        text_or_ids: str | bytes | Sequence[int] | Ids | Tensor | ShardReader,
        tokenizer: Tokenizer | None,
        max_length: int,
        stride: int | None = None,
    ) -> None:
        if max_length < 1 or (stride is not None and stride < 1):
            raise DataError(f"max_length and stride should be 1 or more, found {max_length} and {stride}")
        self.max_length = max_length
        self.stride = max_length if stride is None else stride
        self._parts = _parts(text_or_ids, tokenizer)
        counts = [window_count(len(part), self.max_length, self.stride) for part in self._parts]
        self._ends = np.cumsum(counts)
        if not len(self):
            longest = max((len(part) for part in self._parts), default=0)
            raise DataError(
                f"{longest:,} tokens are too few for one window of {max_length} and its targets: "
                "give more text or a smaller max_length"
            )

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        index %= len(self)
        part = int(np.searchsorted(self._ends, index, side="right"))
        start = (index - (int(self._ends[part - 1]) if part else 0)) * self.stride
        ids = torch.from_numpy(self._parts[part][start : start + self.max_length + 1].astype(np.int64))
        return ids[:-1], ids[1:]


def _parts(source: Any, tokenizer: Tokenizer | None) -> list[Ids]:
    if isinstance(source, str | bytes):
        if tokenizer is None:
            raise DataError("text needs a tokenizer; ids do not")
        return [np.asarray(tokenizer.encode_to_numpy(source))]
    if hasattr(source, "tokens") and hasattr(source, "shards"):
        return shard_parts(source)
    return [np.asarray(source)]


def shard_parts(reader: ShardReader) -> list[Ids]:
    """The ids of each shard, mapped, not read."""
    return [reader.tokens(shard, 0, None) for shard in range(len(reader.shards))]


def evaluation_windows(
    parts: Sequence[Ids], length: int, stride: int, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (inputs, targets), int64 (≤ batch_size, length): each id but a part's first is a target once.

    With ``stride < length`` a target has at least ``length - stride`` ids before it (but at the start): a
    better estimate for more work. A part shorter than a window is padded with zeros whose targets are
    ``IGNORE_INDEX``.
    """
    if not 1 <= stride <= length:
        raise DataError(
            f"the stride of an evaluation should be 1 to {length}, found {stride}: else ids are left out"
        )
    rows: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for part in parts:
        for row in _evaluation_rows(part, length, stride):
            rows.append(row)
            if len(rows) == batch_size:
                yield _stack(rows)
                rows = []
    if rows:
        yield _stack(rows)


def _evaluation_rows(
    part: Ids, length: int, stride: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    scored = 1  # ids[0] has nothing before it
    while scored < len(part):
        # scored = 1 is the first window; each later one brings `stride` new targets, or what is left
        stop = min(len(part), length + 1 if scored == 1 else scored + stride)
        start = max(0, stop - length - 1)
        ids = part[start:stop].astype(np.int64)
        inputs, targets = np.zeros(length, np.int64), np.full(length, IGNORE_INDEX, np.int64)
        inputs[: len(ids) - 1] = ids[:-1]
        targets[: len(ids) - 1] = ids[1:]
        targets[: scored - 1 - start] = IGNORE_INDEX
        yield inputs, targets
        scored = stop


def _stack(rows: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> tuple[Tensor, Tensor]:
    inputs, targets = zip(*rows, strict=True)
    return torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(targets))
