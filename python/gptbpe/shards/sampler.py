"""The samples of one dataset: which tokens are training sample number *g*?"""

from __future__ import annotations

import os
from typing import Any, Literal

from gptbpe._core import CoreSampler, CoreShardReader
from gptbpe.errors import ShardError
from gptbpe.shards.reader import ShardReader
from gptbpe.shards.samples import Dtype, Samples, checked_dtype

__all__ = ["Sampler"]

Name = str | os.PathLike[str]


class Sampler(Samples):
    """Says which tokens are sample number *g*.

    The answer is a function of (dataset, seed, plan) and *g*, and of nothing else. So every number of
    ranks, workers and micro-batches reads the same global batches, a run resumes from one integer, and any
    batch can be looked at by its number. There is no index to build or keep: memory does not depend on the
    number of samples. Rank r of W with micro-batch b reads ``batch(step * W * b + r * b, b)``.

    A sample is ``sequence_length`` inputs and the targets that follow them, all in one shard. Sample *g* is
    number ``g % len(sampler)`` of epoch ``g // len(sampler)``; every epoch has an order of its own, and from
    the second on window edges of its own.

    Args:
        reader: the dataset, or its folder.
        sequence_length: inputs per sample.
        seed: chooses the order, 0 to 2^64 - 1.
        order: ``"global"``: random over everything. ``"block"``: 64 MiB of neighbouring windows are a unit,
            units come in random order, and the windows of 32 of them are shuffled together: for disks and
            stores that must seek. ``"sequential"``: as the text stands.
        units: with ``"block"``: (windows in a unit, units shuffled together), instead of those. Units below
            20 MiB read more of an object store than they use, up to twice as much.
        stride: tokens from one window's start to the next; ``sequence_length`` by default.
        mask_overlap: with ``"sequential"`` and a smaller stride: targets that the window before has scored
            are -1, so each token counts once, with a long context.
        partial: ``"drop"`` leaves out what is too short for a window at the end of a shard; ``"pad"`` (with
            ``"sequential"``) makes a window of it with input 0 and target -1, so that every token but a
            shard's first is a target exactly once.
        reserve: tokens at the end of the shards that no window touches; kept to evaluate on.
        pack: a sample is a row of whole documents instead of a window (best fit, in groups of 16,384
            neighbours). Every token is an input once an epoch, and every token but a document's first a
            target; only documents longer than a row are cut. The targets of a document's last token and of
            the padding, which is below 0.05 % of the row, are -1. With ``"global"`` a dataset of more than
            some ten million documents is faster in the order ``"block"``.
        dtype: of the arrays: ``"int64"``, as PyTorch's losses want their targets, or ``"int32"``. With the
            type that the ids have on disk, ``reader.dtype``, which is ``"uint16"`` or ``"uint32"``, a batch
            is a quarter or half as large, and is widened on the accelerator. These types have no -1, so a
            plan that leaves targets out (``pack``, ``mask_overlap``, ``"pad"``) has only
            :meth:`masked_batch`.

    Raises:
        ShardError: a number out of range, every shard too short for one window, or ids that ``dtype`` does
            not hold; the message says which.

    >>> import tempfile
    >>> from gptbpe import ShardReader, ShardWriter
    >>> folder = tempfile.mkdtemp()
    >>> with ShardWriter(folder, vocab_size=100) as writer:
    ...     writer.write(range(100))
    >>> sampler = Sampler(ShardReader(folder), sequence_length=4, order="sequential")
    >>> inputs, targets = sampler.batch(0, 2)
    >>> inputs.tolist(), targets.tolist()
    ([[0, 1, 2, 3], [4, 5, 6, 7]], [[1, 2, 3, 4], [5, 6, 7, 8]])
    """

    def __init__(
        self,
        reader: ShardReader | Name,
        sequence_length: int,
        *,
        seed: int = 0,
        order: Literal["global", "block", "sequential"] = "global",
        units: tuple[int, int] | None = None,
        stride: int | None = None,
        mask_overlap: bool = False,
        partial: Literal["drop", "pad"] = "drop",
        reserve: int = 0,
        pack: bool = False,
        dtype: Dtype = "int64",
    ) -> None:
        numbers = {
            "sequence_length": sequence_length,
            "stride": sequence_length if stride is None else stride,
            "seed": seed,
            "reserve": reserve,
        }
        if units is not None:
            numbers["units[0]"], numbers["units[1]"] = units
        for name, value in numbers.items():
            if not 0 <= value < 2**64:
                raise ShardError(f"{name} is {value}, expected 0 to 2^64 - 1")
        self.reader = reader if isinstance(reader, ShardReader) else ShardReader(reader)
        self.sequence_length = sequence_length
        self.dtype = checked_dtype(dtype, [self.reader])
        self._plan: dict[str, Any] = {
            "seed": seed,
            "order": order,
            "units": units,
            "stride": numbers["stride"],
            "mask_overlap": mask_overlap,
            "partial": partial,
            "reserve": reserve,
            "pack": pack,
        }
        self._made = self.reader._with_files(self._make)
        self._made_for = self.reader._core

    def _make(self, core: CoreShardReader) -> CoreSampler:
        plan = self._plan
        return CoreSampler(
            core,
            self.sequence_length,
            plan["stride"],
            plan["seed"],
            plan["order"],
            plan["units"],
            plan["mask_overlap"],
            plan["partial"],
            plan["reserve"],
            plan["pack"],
        )

    @property
    def _core(self) -> CoreSampler:
        if self._made_for is not self.reader._core:  # files of a dataset that is elsewhere were fetched anew
            self._made = self.reader._with_files(self._make)
            self._made_for = self.reader._core
        return self._made

    def _readers(self) -> list[ShardReader]:
        return [self.reader]

    def _fetch(self, global_sample: int, batch_size: int) -> None:
        if self.reader._remote is None or self._plan["pack"]:
            return
        windows = [self._core.window(global_sample + row) for row in range(batch_size)]
        length = self.sequence_length + 1
        self.reader._fetch((each[0], each[1], each[1] + length) for each in windows if each is not None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the plan, for other processes."""
        return _replan, (
            type(self),
            self.reader,
            self.sequence_length,
            {**self._plan, "dtype": self.dtype.name},
        )

    def __len__(self) -> int:
        """Samples per epoch."""
        return self._core.length or 0

    def window(self, global_sample: int) -> tuple[int, int]:
        """Return the shard of a sample and the place of its first input there.

        Raises:
            ShardError: the samples are packed documents, which lie in many places.
        """
        window = self._core.window(global_sample)
        if window is None:
            raise ShardError("samples of packed documents are no windows: they lie in many places")
        shard, start, _, _ = window
        return shard, start


def _replan(cls: type[Sampler], reader: ShardReader, sequence_length: int, plan: dict[str, Any]) -> Sampler:
    return cls(reader, sequence_length, **plan)
