"""Batches that travel as narrow as the shards hold them are those that the CPU reads as int64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gptbpe import ShardWriter
from gptmodel.data.config import DataConfig
from gptmodel.data.loader import Batches, TrainingData, prepare
from gptmodel.data.transfer import BUFFERS, HostBatch, widen

LENGTH, ROWS = 24, 6


def training(folder: Path, vocab_size: int, documents: Any) -> TrainingData:
    """Documents of 1 to 60 tokens, with the greatest ids of the vocabulary among them."""
    random = np.random.default_rng(3)
    with ShardWriter(folder, vocab_size=vocab_size, eos=0, shard_tokens=2000) as writer:
        for length in random.integers(1, 60, 200):
            writer.write(random.integers(max(1, vocab_size - 40_000), vocab_size, length))
    config = DataConfig(shards=(str(folder),), documents=documents)
    return prepare(config, context_length=LENGTH, batch_size=ROWS, seed=1)


@pytest.fixture(params=[(65_536, "uint16"), (70_000, "uint32")], ids=["uint16", "uint32"])
def kind(request: pytest.FixtureRequest) -> tuple[int, str]:
    vocab_size, dtype = request.param
    return vocab_size, dtype


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return len(one) == len(other) and all(
        a.dtype == b.dtype == torch.int64 and torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("documents", ["stream", "mask", "pack"])
def test_a_widened_batch_is_the_wide_one(tmp_path: Path, kind: tuple[int, str], documents: str) -> None:
    data = training(tmp_path, kind[0], documents)
    buffer = HostBatch(data.sampler, 4, masked=data.masked)
    assert [str(part.dtype) for part in buffer.parts[:2]] == [f"torch.{kind[1]}"] * 2
    ignored = 0
    for step in range(20):
        buffer.fill(step * ROWS + 1)
        wide = widen(buffer.parts)
        assert same(wide, data.batch(step, slice(1, 5)))
        ignored += int((wide[1] == -1).sum())
    assert (ignored > 0) == (documents != "stream")


class LateCopy:
    """A copy that is done as late as it may be: when somebody waits for it."""

    def __init__(self, buffer: HostBatch) -> None:
        self._buffer = buffer
        self._parts: tuple[Tensor, ...] | None = None

    def synchronize(self) -> None:
        """Copy, unless that was done."""
        if self._parts is None:
            self._parts = tuple(part.clone() for part in self._buffer.parts)

    def receive(self) -> tuple[Tensor, ...]:
        """Return what was copied."""
        self.synchronize()
        assert self._parts is not None
        return widen(self._parts)


def late(buffer: HostBatch) -> tuple[LateCopy, LateCopy]:
    copy = LateCopy(buffer)
    return copy, copy


def test_a_buffer_is_filled_again_when_its_copy_has_ended(tmp_path: Path, kind: tuple[int, str]) -> None:
    data = training(tmp_path, kind[0], "mask")
    turns = data.turns(late)
    copies = [turns.make(step) for step in range(3 * BUFFERS + 1)]
    for step, copy in enumerate(copies):
        assert same(copy.receive(), data.batch(step))


def test_batches_that_a_thread_makes_ahead(tmp_path: Path, kind: tuple[int, str]) -> None:
    data = training(tmp_path, kind[0], "pack")
    make = data.turns(late, slice(2, 6)).make
    with Batches(make, LateCopy.receive, range(5, 30), ahead=True) as batches:
        found = list(batches)
    assert len(found) == 25
    assert all(same(batch, data.batch(step, slice(2, 6))) for step, batch in enumerate(found, 5))


def test_what_a_thread_raises_is_raised(tmp_path: Path) -> None:
    data = training(tmp_path, 300, "stream")
    make = data.turns(late).make
    for path in tmp_path.glob("*.bin"):
        path.write_bytes(path.read_bytes()[:3000])
    with (
        Batches(make, LateCopy.receive, range(9), ahead=True) as batches,
        pytest.raises(Exception, match="bytes"),
    ):
        list(batches)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("documents", ["stream", "mask", "pack"])
def test_batches_on_a_cuda_device(tmp_path: Path, kind: tuple[int, str], documents: str) -> None:
    data = training(tmp_path, kind[0], documents)
    device = torch.device("cuda")
    work = torch.randn(2048, 2048, device=device)
    with data.batches(device, 0, 50) as batches:
        for step, batch in enumerate(batches):
            for _ in range(8):  # the device is behind, so a batch that came too late would show
                work = (work @ work).tanh()
            assert all(part.device.type == "cuda" for part in batch)
            assert same(tuple(part.cpu() for part in batch), data.batch(step))
