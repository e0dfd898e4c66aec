"""Windows over a sequence of ids: inputs, and the same shifted by one as targets.

Two rules, each for its use. To train, a window is ``length`` inputs with all of their targets, ``length + 1``
ids in all; what is left at the end, less than a window, is dropped, as every sliding-window loader does. To
evaluate, nothing is dropped and nothing counted twice: the last window is moved back until it is whole, and
targets that an earlier window has scored are set to ``IGNORE_INDEX``. So the mean over evaluation windows is
the mean over the text, for any stride.
"""

from __future__ import annotations

from collections import deque
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

__all__ = ["IGNORE_INDEX", "ShardPart", "SlidingWindowDataset", "evaluation_windows", "window_count"]

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

    Over a ``ShardReader`` nothing is read before it is asked for, and what goes to the workers of a
    DataLoader is the folder's name and the plan; over text and ids the ids go there.

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
        self._windows = _windows(text_or_ids, tokenizer, self.max_length, self.stride)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        return self._windows.window(index % len(self))


class _IdWindows:
    """Windows over ids in memory."""

    def __init__(self, ids: Ids, length: int, stride: int) -> None:
        self._ids, self._length, self._stride = ids, length, stride
        if not len(self):
            raise _too_few(len(ids), length)

    def __len__(self) -> int:
        return window_count(len(self._ids), self._length, self._stride)

    def window(self, index: int) -> tuple[Tensor, Tensor]:
        start = index * self._stride
        ids = torch.from_numpy(self._ids[start : start + self._length + 1].astype(np.int64))
        return ids[:-1], ids[1:]


class _ShardWindows:
    """Windows over shards, read when they are asked for."""

    def __init__(self, reader: ShardReader, length: int, stride: int) -> None:
        from gptbpe import Sampler

        longest = max((shard.tokens for shard in reader.shards), default=0)
        if not window_count(longest, length, stride):
            raise _too_few(longest, length)
        self._sampler = Sampler(reader, length, stride=stride, order="sequential")

    def __len__(self) -> int:
        return len(self._sampler)

    def window(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self._sampler.batch(index, 1)
        return torch.from_numpy(inputs[0]), torch.from_numpy(targets[0])


def _windows(
    source: Any, tokenizer: Tokenizer | None, length: int, stride: int
) -> _IdWindows | _ShardWindows:
    if isinstance(source, str | bytes):
        if tokenizer is None:
            raise DataError("text needs a tokenizer; ids do not")
        return _IdWindows(np.asarray(tokenizer.encode_to_numpy(source)), length, stride)
    if hasattr(source, "tokens") and hasattr(source, "shards"):
        return _ShardWindows(source, length, stride)
    return _IdWindows(np.asarray(source), length, stride)


def _too_few(tokens: int, length: int) -> DataError:
    return DataError(
        f"{tokens:,} tokens are too few for one window of {length} and its targets: "
        "give more text or a smaller max_length"
    )


class ShardPart:
    """Ids of a shard that are read when a slice of them is asked for."""

    def __init__(self, reader: ShardReader, shard: int, start: int, stop: int) -> None:
        self._reader, self._shard, self._range = reader, shard, range(start, stop)

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, where: slice) -> Ids:
        found = self._range[where]
        return np.asarray(self._reader.tokens(self._shard, found.start, max(found.start, found.stop)))


def shard_parts(reader: ShardReader) -> list[ShardPart]:
    """The ids of each shard."""
    return [ShardPart(reader, number, 0, shard.tokens) for number, shard in enumerate(reader.shards)]


def evaluation_windows(
    parts: Sequence[Ids | ShardPart], length: int, stride: int, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (inputs, targets), int64 (≤ batch_size, length): each id but a part's first is a target once.

    With ``stride < length`` a target has at least ``length - stride`` ids before it (but at the start): a
    better estimate for more work. A part shorter than a window is padded with zeros whose targets are
    ``IGNORE_INDEX``. The parts take turns, so that an evaluation that stops early has seen them all.
    """
    if not 1 <= stride <= length:
        raise DataError(
            f"the stride of an evaluation should be 1 to {length}, found {stride}: more would skip tokens"
        )
    rows: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    waiting = deque(_evaluation_rows(part, length, stride) for part in parts)
    while waiting:
        row = next(waiting[0], None)
        if row is None:
            waiting.popleft()
            continue
        waiting.rotate(-1)
        rows.append(row)
        if len(rows) == batch_size:
            yield _stack(rows)
            rows = []
    if rows:
        yield _stack(rows)


def _evaluation_rows(
    part: Ids | ShardPart, length: int, stride: int
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
