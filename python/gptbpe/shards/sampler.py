"""The order in which training reads a dataset: which tokens are sample number *g*."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gptbpe._core import CoreSampler
from gptbpe.errors import ShardError, ShardMismatchError
from gptbpe.shards.reader import ShardReader

__all__ = ["Sampler"]

Batch = tuple[npt.NDArray[Any], npt.NDArray[Any]]


class Sampler:
    """Says which tokens are sample number *g*.

    The answer is a function of (dataset, seed, plan) and *g*, and of nothing else. So every number of
    ranks, workers and micro-batches reads the same global batches, a run resumes from one integer, and any
    batch can be looked at by its number. There is no index to build or keep: memory does not depend on the
    number of samples. Rank r of W with micro-batch b reads ``batch(step * W * b + r * b, b)``.

    A sample is ``sequence_length`` inputs and the targets that follow them, all in one shard. Sample *g* is
    number ``g % len(sampler)`` of epoch ``g // len(sampler)``; every epoch has an order of its own, and from
    the second on window edges of its own.

    Args:
        reader: the dataset.
        sequence_length: inputs per sample.
        seed: chooses the order, 0 to 2^64 - 1.
        order: ``"global"``: random over everything. ``"block"``: 256 neighbouring windows are read together,
            and 512 such units shuffled: for disks and stores that must seek. ``"sequential"``: as the text
            stands.
        stride: tokens from one window's start to the next; ``sequence_length`` by default.
        mask_overlap: with ``"sequential"`` and a smaller stride: targets that the window before has scored
            are -1, so each token counts once, with a long context.
        partial: ``"drop"`` leaves out what is too short for a window at the end of a shard; ``"pad"`` (with
            ``"sequential"``) makes a window of it with input 0 and target -1, so that every token but a
            shard's first is a target exactly once.
        reserve: tokens at the end of the last shard that no window touches; kept to evaluate on.
        dtype: of the arrays: ``"int64"``, as PyTorch's losses want their targets, or ``"int32"``.

    Raises:
        ShardError: a number out of range, or every shard too short for one window; the message has both.

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
        reader: ShardReader,
        sequence_length: int,
        *,
        seed: int = 0,
        order: Literal["global", "block", "sequential"] = "global",
        stride: int | None = None,
        mask_overlap: bool = False,
        partial: Literal["drop", "pad"] = "drop",
        reserve: int = 0,
        dtype: Literal["int64", "int32"] = "int64",
    ) -> None:
        numbers = {
            "sequence_length": sequence_length,
            "stride": sequence_length if stride is None else stride,
            "seed": seed,
            "reserve": reserve,
        }
        for name, value in numbers.items():
            if not 0 <= value < 2**64:
                raise ShardError(f"{name} is {value}, expected 0 to 2^64 - 1")
        if np.dtype(dtype).name not in ("int64", "int32"):
            raise ShardError(f"dtype is {np.dtype(dtype).name!r}, expected 'int64' or 'int32'")
        self.reader = reader
        self.sequence_length = sequence_length
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._plan: dict[str, Any] = {
            "seed": seed,
            "order": order,
            "stride": numbers["stride"],
            "mask_overlap": mask_overlap,
            "partial": partial,
            "reserve": reserve,
        }
        self._core = CoreSampler(
            reader._core, sequence_length, numbers["stride"], seed, order, mask_overlap, partial, reserve
        )

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
        return len(self._core)

    def batch(self, global_sample: int, batch_size: int, out: Batch | None = None) -> Batch:
        """Return samples ``global_sample`` to ``global_sample + batch_size - 1`` as (inputs, targets).

        Both have shape (batch_size, sequence_length) and type :attr:`dtype`. ``out`` is such a pair to be
        filled and returned, for buffers that are used again. The GIL is released meanwhile.

        Raises:
            ShardError: a damaged shard, or ``out`` of another shape or type.
        """
        if not 0 <= global_sample < 2**63 or batch_size < 0:
            raise ShardError(f"no samples {global_sample} to {global_sample + batch_size}: they begin at 0")
        if out is None:
            shape = (batch_size, self.sequence_length)
            out = np.empty(shape, self.dtype), np.empty(shape, self.dtype)
        elif len(out[0]) != batch_size:
            raise ShardError(f"out has {len(out[0])} rows, expected {batch_size}")
        self._core.fill(global_sample, *out)
        return out

    def window(self, global_sample: int) -> tuple[int, int]:
        """Return the shard of a sample and the place of its first input there."""
        shard, start, _, _ = self._core.window(global_sample)
        return shard, start

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides which tokens a sample number stands for."""
        return self._core.fingerprint

    def state(self, global_sample: int) -> dict[str, Any]:
        """Return what a checkpoint needs to go on with sample ``global_sample``."""
        return {"global_sample": global_sample, "sampler": self.fingerprint}

    def resume(self, state: Mapping[str, Any]) -> int:
        """Return the sample to go on with.

        Raises:
            ShardMismatchError: the state was saved under another plan or of another dataset, so the number
                would stand for other tokens.

        >>> import tempfile
        >>> from gptbpe import ShardReader, ShardWriter
        >>> folder = tempfile.mkdtemp()
        >>> with ShardWriter(folder, vocab_size=100) as writer:
        ...     writer.write(range(100))
        >>> sampler = Sampler(ShardReader(folder), 4)
        >>> sampler.resume(sampler.state(7))
        7
        """
        try:
            number, plan = int(state["global_sample"]), str(state["sampler"])
        except (KeyError, TypeError, ValueError) as error:
            raise ShardMismatchError(f"{state!r} is not the state of a sampler") from error
        self._core.expect_fingerprint(plan)
        return number


def _replan(cls: type[Sampler], reader: ShardReader, sequence_length: int, plan: dict[str, Any]) -> Sampler:
    return cls(reader, sequence_length, **plan)
