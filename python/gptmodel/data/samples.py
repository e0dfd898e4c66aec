"""Samples of shards, of one folder or a mixture, for those who want a ``torch.utils.data.DataLoader``.

``gptmodel train`` needs no DataLoader: threads of its own process read ahead. What goes to the worker
processes here is the folder's name and the plan, never tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from gptmodel.errors import DataError

if TYPE_CHECKING:
    from gptbpe import Mixture, Sampler

__all__ = ["SampleBatches", "SampleDataset"]

Pair = tuple[Tensor, Tensor]


class SampleDataset(Dataset[Pair]):
    """Sample ``g`` of a plan as item ``g``: (inputs, targets), two tensors (sequence_length,).

    They have the type of the plan: int64, or with ``dtype=reader.dtype`` the one on disk, to be widened on
    the device.

    The plan shuffles, so the loader is not to: ``DataLoader(dataset, batch_size, shuffle=False)``. ``length``
    is an epoch when left out; a mixture without an end needs it.
    """

    def __init__(self, plan: Sampler | Mixture, length: int | None = None) -> None:
        found = plan.length if hasattr(plan, "length") else len(plan)
        if length is None and found is None:
            raise DataError("this mixture has no end: say how many samples the dataset has, length=…")
        self._plan, self._length = plan, length if length is not None else int(found or 0)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Pair:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Pair]:
        """Items of a batch: those that follow one another are read together."""
        pairs: list[Pair] = []
        start = 0
        for stop in range(1, len(indices) + 1):
            if stop == len(indices) or indices[stop] != indices[stop - 1] + 1:
                first = indices[start]
                if not 0 <= first <= first + stop - start <= self._length:
                    raise IndexError(f"sample {first} of {self._length}")
                inputs, targets = map(torch.from_numpy, self._plan.batch(first, stop - start))
                pairs += zip(inputs, targets, strict=True)
                start = stop
        return pairs


class SampleBatches(IterableDataset[Pair]):
    """Whole batches of one rank, in order: (inputs, targets), two tensors (rows, sequence_length).

    For ``DataLoader(dataset, batch_size=None, num_workers=n)``: worker w makes every n-th batch, and the
    loader puts them back in order, so n changes nothing. Rank ``rank`` of ``ranks`` reads ``rows`` of each
    global batch; begin at ``first_step`` to resume.
    """

    def __init__(
        self,
        plan: Sampler | Mixture,
        rows: int,
        steps: int,
        *,
        first_step: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if rows < 1 or not 0 <= rank < ranks or not 0 <= first_step <= steps:
            raise DataError(f"no batches of {rows} rows for rank {rank} of {ranks} from step {first_step} on")
        self._plan, self._rows, self._steps = plan, rows, range(first_step, steps)
        self._rank, self._ranks = rank, ranks

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Pair]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in self._steps[number::workers]:
            first = (step * self._ranks + self._rank) * self._rows
            inputs, targets = self._plan.batch(first, self._rows)
            yield torch.from_numpy(inputs), torch.from_numpy(targets)
