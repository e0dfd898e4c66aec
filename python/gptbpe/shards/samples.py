"""What samples of one dataset and samples of a mixture have in common: batches by number, streams, states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from gptbpe._core import CoreAhead, CoreSampler
from gptbpe.errors import ShardError, ShardMismatchError
from gptbpe.shards.reader import ShardReader

__all__ = ["Batch", "BatchStream", "Dtype", "MaskedBatch", "Samples"]

Dtype = Literal["int64", "int32", "uint32", "uint16"] | np.dtype[Any]
"""What batches may be made of."""

Batch = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Inputs and targets, (batch_size, sequence_length) each."""


@dataclass(frozen=True)
class MaskedBatch:
    """A batch and which documents stand in it; every shape is the same for every batch.

    A segment is what attention should stay within: a document or the part of one that is in the row, and the
    padding.
    """

    inputs: npt.NDArray[Any]
    """(batch_size, sequence_length)."""
    targets: npt.NDArray[Any]
    """(batch_size, sequence_length); -1 where nothing is to be predicted, or 0 in an unsigned type."""
    cu_seqlens: npt.NDArray[np.int32]
    """(batch_size, max_documents + 1): 0, the column behind each segment, then sequence_length to the end."""
    position_ids: npt.NDArray[np.int32]
    """(batch_size, sequence_length): the place of each input in its segment, from 0."""
    loss_mask: npt.NDArray[np.bool_]
    """(batch_size, sequence_length): whether the target counts."""


class Samples:
    """Samples by their number. See :class:`gptbpe.Sampler` and :class:`gptbpe.Mixture`."""

    sequence_length: int
    """Inputs per sample."""
    dtype: np.dtype[Any]
    """The type of inputs and targets: int64, int32, uint32 or uint16."""

    @property
    def _core(self) -> CoreSampler:
        raise NotImplementedError

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The narrowest type that holds the ids of all datasets, as they are on disk: uint16 or uint32."""
        return max((reader.dtype for reader in self._readers()), key=lambda dtype: dtype.itemsize)

    def batch(self, global_sample: int, batch_size: int, out: Batch | None = None) -> Batch:
        """Return samples ``global_sample`` to ``global_sample + batch_size - 1`` as (inputs, targets).

        Both have shape (batch_size, sequence_length) and type :attr:`dtype`. ``out`` is such a pair to be
        filled and returned, for buffers that are used again; it may have any type that :attr:`dtype` may
        have. The GIL is released meanwhile.

        Raises:
            ShardError: a damaged shard, or ``out`` of another shape or type; or the plan leaves targets out,
                which an unsigned type cannot say: see :meth:`masked_batch`.
        """
        self._check_range(global_sample, batch_size)
        if out is None:
            out = self._pair(batch_size)
        elif len(out[0]) != batch_size:
            raise ShardError(f"out has {len(out[0])} rows, expected {batch_size}")
        pair = out
        self._fetch(global_sample, batch_size)
        self._with_files(lambda: self._core.fill(global_sample, *pair))
        return out

    def masked_batch(
        self,
        global_sample: int,
        batch_size: int,
        *,
        max_documents: int | None = None,
        mask_boundaries: bool = False,
        out: MaskedBatch | None = None,
    ) -> MaskedBatch:
        """Return samples as :meth:`batch` does, and which documents stand in them.

        An unsigned type has no -1: where a target does not count it is 0, and ``loss_mask`` alone says so.

        Args:
            global_sample: the first.
            batch_size: how many.
            max_documents: segments in a row at most, which sets the shape of ``cu_seqlens``. The default,
                ``sequence_length``, is always enough.
            mask_boundaries: make the first token of a document no target of the one before it. In packed rows
                it never is.
            out: arrays to be filled and returned.

        Raises:
            ShardError: more documents in a row than ``max_documents``, or the shards do not say where
                documents end.

        >>> import tempfile
        >>> from gptbpe import Sampler, ShardReader, ShardWriter
        >>> folder = tempfile.mkdtemp()
        >>> with ShardWriter(folder, vocab_size=100) as writer:
        ...     writer.write(range(3))
        ...     writer.write(range(10, 16))
        >>> batch = Sampler(ShardReader(folder), 8, order="sequential").masked_batch(0, 1, max_documents=4)
        >>> batch.inputs.tolist(), batch.cu_seqlens.tolist(), batch.position_ids.tolist()
        ([[0, 1, 2, 10, 11, 12, 13, 14]], [[0, 3, 8, 8, 8]], [[0, 1, 2, 0, 1, 2, 3, 4]])
        """
        self._check_range(global_sample, batch_size)
        if out is None:
            most = self.sequence_length if max_documents is None else max_documents
            if most < 1:
                raise ShardError(f"max_documents is {most}, expected 1 or more")
            shape = (batch_size, self.sequence_length)
            out = MaskedBatch(
                *self._pair(batch_size),
                np.empty((batch_size, most + 1), np.int32),
                np.empty(shape, np.int32),
                np.empty(shape, np.bool_),
            )
        elif len(out.inputs) != batch_size:
            raise ShardError(f"out has {len(out.inputs)} rows, expected {batch_size}")
        arrays = out
        self._fetch(global_sample, batch_size)
        self._with_files(
            lambda: self._core.fill_masked(
                global_sample,
                arrays.inputs,
                arrays.targets,
                arrays.cu_seqlens,
                arrays.position_ids,
                arrays.loss_mask,
                mask_boundaries,
            )
        )
        return out

    def batches(
        self,
        batch_size: int,
        *,
        first: int = 0,
        step: int | None = None,
        count: int | None = None,
        ahead: int = 2,
        threads: int = 1,
    ) -> BatchStream:
        """Return a stream of batches that threads fill before they are asked for.

        Threads start with the first batch, hold no GIL and end with the stream. The memory of a batch is used
        again once nobody holds its arrays or what was made of them; so a loop that keeps nothing allocates
        nothing. A forked process goes on where its parent was, with threads of its own.

        Args:
            batch_size: samples in a batch.
            first: the first sample.
            step: samples from one batch to the next; ``batch_size`` when left out. Rank r of W reads
                ``batches(b, first=g + r * b, step=W * b)``.
            count: how many batches; left out: without end, or as many whole ones as a mixture has that ends.
            ahead: batches that are made before they are asked for.
            threads: threads that make them.

        >>> import tempfile
        >>> from gptbpe import Sampler, ShardReader, ShardWriter
        >>> folder = tempfile.mkdtemp()
        >>> with ShardWriter(folder, vocab_size=100) as writer:
        ...     writer.write(range(100))
        >>> sampler = Sampler(ShardReader(folder), 4, order="sequential")
        >>> with sampler.batches(2, count=2) as stream:
        ...     [inputs.tolist() for inputs, targets in stream]
        [[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9, 10, 11], [12, 13, 14, 15]]]
        """
        self._check_range(first, batch_size)
        step = batch_size if step is None else step
        for name, value in (("step", step), ("count", count or 0), ("ahead", ahead), ("threads", threads)):
            if not 0 <= value < 2**63:
                raise ShardError(f"{name} is {value}, expected 0 or more")
        end = self._end()
        if count is None and end is not None:
            count = max(0, (end - first - batch_size) // max(1, step) + 1)
        dtype, batches, mended = self.dtype.name, count, 0

        def begin(given: int) -> CoreAhead:
            left = None if batches is None else batches - given
            at = first + given * step
            return self._core.ahead(dtype, at, step, batch_size, left, ahead, threads)

        def mend(error: Exception, given: int) -> CoreAhead | None:
            """Fetch what is missing, also for the batches after that; begin again if files are others."""
            nonlocal mended
            if given > mended:
                mended = given
                self._done()
            core = self._core
            for number in range(
                given, given + ahead + 1 if batches is None else min(given + ahead + 1, batches)
            ):
                self._fetch(first + number * step, batch_size)
            self._mend(error)
            return None if self._core is core else begin(given)

        return BatchStream(begin(0), mend)

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
        >>> from gptbpe import Sampler, ShardReader, ShardWriter
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
        if number < 0:
            raise ShardMismatchError(f"{state!r} is not the state of a sampler")
        self._core.expect_fingerprint(plan, number)
        return number

    def _readers(self) -> list[ShardReader]:
        """The datasets in which samples lie."""
        raise NotImplementedError

    def _fetch(self, global_sample: int, batch_size: int) -> None:
        """Fetch what samples need of a dataset that is elsewhere, where that is known beforehand."""

    def _with_files(self, call: Callable[[], None]) -> None:
        """Call, and fetch what is missing of datasets that are elsewhere, until nothing is."""
        while True:
            try:
                call()
            except (FileNotFoundError, ShardError) as error:
                self._mend(error)
            else:
                self._done()
                return

    def _done(self) -> None:
        """Take note that a batch came through."""
        for reader in self._readers():
            if reader._remote is not None:
                reader._remote.done()

    def _mend(self, error: Exception) -> None:
        mended = False
        for reader in self._readers():
            if reader._remote is None or not reader._remote.holds(error):
                continue
            if mended:  # one more of the same folder: what it has open may be gone from there
                reader._remote.stale = True
                reader._renew()
            else:
                reader._mend(error)
                mended = True
        if not mended:
            raise error

    def _end(self) -> int | None:
        """The number behind the last sample; None where there is no last one."""
        return None

    def _pair(self, batch_size: int) -> Batch:
        shape = (batch_size, self.sequence_length)
        return np.empty(shape, self.dtype), np.empty(shape, self.dtype)

    @staticmethod
    def _check_range(global_sample: int, batch_size: int) -> None:
        if not 0 <= global_sample < 2**63 or batch_size < 0:
            raise ShardError(f"no samples {global_sample} to {global_sample + batch_size}: they begin at 0")


class BatchStream:
    """Batches, one after another, made ahead by threads; an iterator and a context manager."""

    def __init__(self, core: CoreAhead, mend: Callable[[Exception, int], CoreAhead | None]) -> None:
        self._core = core
        self._mend = mend
        self._given = 0

    def __iter__(self) -> Iterator[Batch]:
        """Return the stream itself."""
        return self

    def __next__(self) -> Batch:
        """Return the next (inputs, targets). After an error the same batch is tried again."""
        while True:
            try:
                batch = next(self._core)
            except (FileNotFoundError, ShardError) as error:
                # Of a dataset that is elsewhere something may be missing.
                if (core := self._mend(error, self._given)) is not None:
                    self._core.close()
                    self._core = core
            else:
                self._given += 1
                return batch

    def close(self) -> None:
        """End the threads."""
        self._core.close()

    def __enter__(self) -> Self:
        """Return the stream."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads."""
        self.close()


def checked_dtype(dtype: Dtype, readers: Iterable[ShardReader]) -> np.dtype[Any]:
    """Return the type of batches. Raises ShardError for one that is not offered, or too narrow."""
    found = np.dtype(dtype)
    if found.name not in ("int64", "int32", "uint32", "uint16"):
        raise ShardError(f"dtype is {found.name!r}, expected 'int64', 'int32', 'uint32' or 'uint16'")
    for reader in readers:
        if reader.dtype.itemsize > found.itemsize:
            raise ShardError(
                f"dtype is {found.name!r}, but the ids in {reader.path} have 32 bits: take 'uint32', 'int32' "
                "or 'int64'"
            )
    return found
