"""Batches on their way to a CUDA device: narrow on the host, as the shards hold them, and int64 there.

Ids of two bytes cross the bus as two bytes. A thread fills pinned buffers in turns, copies each on a stream
of its own while the device computes on another, and widens it there. A buffer is filled again only after its
copy has ended. The stream of the computation waits for an event behind the batch; the process waits for
nothing but the copy of the batch before the last.

Unsigned ids have no -1. Where attention stays inside documents, two masks of one byte a token are copied
too, from which the device makes the ignored targets and the numbers of the documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from gptmodel.data.windows import IGNORE_INDEX

if TYPE_CHECKING:
    from gptbpe import Mixture, Sampler

__all__ = ["BUFFERS", "HostBatch", "SideStream", "Turns", "widen"]

BUFFERS = 2
"""One is filled while the other is copied."""

Sent = TypeVar("Sent")


class HostBatch:
    """Room for a batch of ids as the shards hold them, and for its masks where documents are kept apart.

    ``parts`` are tensors (rows, context length): inputs and targets of type uint16 or uint32, and with
    ``masked`` two of type bool: where a document begins, and which targets count. `widen` makes of them what
    `TrainingData.batch` returns.
    """

    def __init__(
        self, sampler: Sampler | Mixture, rows: int, *, masked: bool = False, pinned: bool = False
    ) -> None:
        from gptbpe.shards import MaskedBatch

        shape = rows, sampler.sequence_length
        ids = getattr(torch, sampler.stored_dtype.name)
        types = [ids, ids, torch.bool, torch.bool] if masked else [ids, ids]
        self.parts = tuple(torch.empty(shape, dtype=each, pin_memory=pinned) for each in types)
        self._sampler, self._rows = sampler, rows
        inputs, targets, *masks = [part.numpy() for part in self.parts]
        self._pair = inputs, targets
        self._masked: MaskedBatch | None = None
        if masked:
            self._begins, counts = masks
            ends = np.empty((rows, sampler.sequence_length + 1), np.int32)
            self._masked = MaskedBatch(inputs, targets, ends, np.empty(shape, np.int32), counts)

    def fill(self, first: int) -> None:
        """Read samples ``first``, ``first + 1``, … into the parts."""
        if self._masked is None:
            self._sampler.batch(first, self._rows, self._pair)
            return
        found = self._sampler.masked_batch(first, self._rows, mask_boundaries=True, out=self._masked)
        np.equal(found.position_ids, 0, out=self._begins)


def widen(parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return int64 inputs and targets, and with masks the number of each input's document in its row.

    The parts are those of a `HostBatch`, on any device. Targets that do not count are ``IGNORE_INDEX``.

    >>> ids = torch.tensor([[1, 65535]]).to(torch.uint16)
    >>> widen([ids, ids])[0].tolist()
    [[1, 65535]]
    """
    inputs, targets = _widened(parts[0]), _widened(parts[1])
    if len(parts) == 2:
        return inputs, targets
    begins, counts = parts[2:]
    return inputs, targets.masked_fill_(~counts, IGNORE_INDEX), begins.cumsum(1)


def _widened(ids: Tensor) -> Tensor:
    # torch has few kernels for unsigned integers, and all of them for signed ones of the same width.
    if ids.dtype == torch.uint16:
        return ids.view(torch.int16).to(torch.int64).bitwise_and_(0xFFFF)
    return ids.view(torch.int32).to(torch.int64)  # ids are below 2^31


class Copied(Protocol):
    """Something that can be waited for, such as a ``torch.cuda.Event``."""

    def synchronize(self) -> None: ...


class Turns(Generic[Sent]):
    """Buffers that are filled and sent in turns, by one thread.

    ``fill(number, buffer)`` puts batch ``number`` into a buffer; ``send(buffer)`` begins to copy it and
    returns what to hand out, and the copy to wait for before the buffer is filled again.
    """

    def __init__(
        self,
        buffers: Sequence[HostBatch],
        fill: Callable[[int, HostBatch], None],
        send: Callable[[HostBatch], tuple[Sent, Copied]],
    ) -> None:
        self._buffers, self._fill, self._send = buffers, fill, send
        self._copies: list[Copied | None] = [None] * len(buffers)
        self._turn = 0

    def make(self, number: int) -> Sent:
        """Make batch ``number`` and send it."""
        turn, self._turn = self._turn, (self._turn + 1) % len(self._buffers)
        copy = self._copies[turn]
        if copy is not None:
            copy.synchronize()
        self._fill(number, self._buffers[turn])
        sent, self._copies[turn] = self._send(self._buffers[turn])
        return sent


class SideStream:
    """A stream of a CUDA device on which batches are copied and widened."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def send(self, batch: HostBatch) -> tuple[tuple[tuple[Tensor, ...], Any], Any]:
        """Copy a pinned batch; return what `receive` takes, and the event of the copy's end."""
        with torch.cuda.stream(self._stream):
            there = [part.to(self._device, non_blocking=True) for part in batch.parts]
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self._stream)
            wide = widen(there)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record(self._stream)
        return (wide, ready), copied

    def receive(self, sent: tuple[tuple[Tensor, ...], Any]) -> tuple[Tensor, ...]:
        """Return a batch to the current stream, which waits for it; the process does not."""
        wide, ready = sent
        current = torch.cuda.current_stream(self._device)
        current.wait_event(ready)
        for part in wide:
            part.record_stream(current)  # its memory is the other stream's, and in use here
        return wide
