"""The samples of several datasets, mixed by weights that are kept exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal

from gptbpe._core import CoreSampler
from gptbpe.errors import ShardError
from gptbpe.shards.reader import ShardReader
from gptbpe.shards.sampler import Sampler
from gptbpe.shards.samples import Dtype, Samples, checked_dtype

__all__ = ["Mixture"]


class Mixture(Samples):
    """Several datasets as one, in shares that are exact.

    Samples come in blocks. Weights become whole quotas of a block, so every block has the same number of
    samples of each source; within a block the order is random. Sample *g* of the mixture is a function of
    the plan and *g*, as in :class:`gptbpe.Sampler`: any number of ranks reads the same global batches, and a
    run resumes from one integer. Each source is read in its own order, without a gap.

    Weights may change over time: ``stages`` maps the first sample of a stage to its weights. A stage begins
    at the edge of a block. Stages may be appended to a running plan: a state that was saved before is
    accepted as long as what was added begins at or after the sample to go on with.

    Args:
        samplers: the plans of the sources: one sequence length, one tokenizer.
        weights: a number for each source, or a mapping from first samples to such lists.
        seed: chooses the order within blocks, 0 to 2^64 - 1.
        block: samples per block. With the global batch size every batch has the same composition; larger
            blocks come closer to uneven weights.
        max_epochs: for each source how often it may be read; None for any number.
        exhausted: what happens when a source has reached ``max_epochs``: ``"stop"`` ends the mixture before
            the block that cannot be filled, ``"renormalise"`` gives its share to the others.
        dtype: of the arrays, as in :class:`gptbpe.Sampler`.

    Raises:
        ShardError: weights that cannot be, a stage that begins within a block, sources of different lengths.
        ShardMismatchError: sources of different tokenizers.

    >>> import tempfile
    >>> from gptbpe import Mixture, Sampler, ShardReader, ShardWriter
    >>> samplers = []
    >>> for first in (0, 500):
    ...     folder = tempfile.mkdtemp()
    ...     with ShardWriter(folder, vocab_size=1000) as writer:
    ...         writer.write(range(first, first + 400))
    ...     samplers.append(Sampler(ShardReader(folder), sequence_length=4))
    >>> mixture = Mixture(samplers, [3, 1], block=8)
    >>> mixture.quotas
    [[6, 2]]
    >>> [sum(mixture.source(g)[0] == 0 for g in range(k, k + 8)) for k in (0, 8, 16)]
    [6, 6, 6]
    """

    def __init__(
        self,
        samplers: Sequence[Sampler],
        weights: Sequence[float] | Mapping[int, Sequence[float]],
        *,
        seed: int = 0,
        block: int = 65_536,
        max_epochs: Sequence[float | None] | None = None,
        exhausted: Literal["stop", "renormalise"] = "renormalise",
        dtype: Dtype = "int64",
    ) -> None:
        if not samplers:
            raise ShardError("a mixture needs one sampler or more")
        stages = dict(weights) if isinstance(weights, Mapping) else {0: weights}
        caps = [None] * len(samplers) if max_epochs is None else list(max_epochs)
        if len(caps) != len(samplers):
            raise ShardError(f"max_epochs has {len(caps)} numbers for {len(samplers)} sources")
        for name, value in (("seed", seed), ("block", block), *(("start", start) for start in stages)):
            if not 0 <= value < 2**64:
                raise ShardError(f"{name} is {value}, expected 0 to 2^64 - 1")
        self.samplers = list(samplers)
        self.sequence_length = samplers[0].sequence_length
        self.dtype = checked_dtype(dtype, self._readers())
        self._plan: dict[str, Any] = {
            "weights": {start: list(map(float, shares)) for start, shares in stages.items()},
            "seed": seed,
            "block": block,
            "max_epochs": caps,
            "exhausted": exhausted,
        }
        self._made_of: list[CoreSampler] = []
        self._made = self._core

    @property
    def _core(self) -> CoreSampler:
        cores = [sampler._core for sampler in self.samplers]
        if any(a is not b for a, b in zip_longest(cores, self._made_of)):
            plan = self._plan
            self._made = CoreSampler.mixture(
                cores,
                plan["max_epochs"],
                sorted(plan["weights"].items()),
                plan["seed"],
                plan["block"],
                plan["exhausted"],
            )
            self._made_of = cores
        return self._made

    def _readers(self) -> list[ShardReader]:
        return [sampler.reader for sampler in self.samplers]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the plan, for other processes."""
        return _remix, (type(self), self.samplers, {**self._plan, "dtype": self.dtype.name})

    @property
    def length(self) -> int | None:
        """Samples until the mixture ends; None where no source has a cap."""
        return self._core.length

    def _end(self) -> int | None:
        return self.length

    @property
    def quotas(self) -> list[list[int]]:
        """Samples of each source in a block, stage by stage: what the weights have become."""
        return self._core.quotas()

    def source(self, global_sample: int) -> tuple[int, int]:
        """Return which source a sample comes from, and its number there.

        Raises:
            ShardError: the mixture ends before it.
        """
        return self._core.source(global_sample)


def _remix(cls: type[Mixture], samplers: list[Sampler], plan: dict[str, Any]) -> Mixture:
    return cls(samplers, **plan)
