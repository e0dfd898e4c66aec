"""Windows against a slow, plain rule; each target of an evaluation exactly once."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from gptbpe import Mixture, Sampler, ShardReader, ShardWriter
from gptmodel.data.samples import SampleBatches, SampleDataset
from gptmodel.data.windows import (
    IGNORE_INDEX,
    SlidingWindowDataset,
    evaluation_windows,
    shard_parts,
    window_count,
)
from gptmodel.errors import DataError


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 15))
def test_the_dataset_is_what_a_loop_would_cut(ids: int, length: int, stride: int) -> None:
    expected = [list(range(s, s + length + 1)) for s in range(0, ids, stride) if s + length + 1 <= ids]
    assert window_count(ids, length, stride) == len(expected)
    if not expected:
        with pytest.raises(DataError, match="too few"):
            SlidingWindowDataset(range(ids), None, length, stride)
        return
    windows = SlidingWindowDataset(range(ids), None, length, stride)
    assert len(windows) == len(expected)
    for index, row in enumerate(expected):
        inputs, targets = windows[index]
        assert inputs.tolist() == row[:-1]
        assert targets.tolist() == row[1:]
    assert torch.equal(windows[-1][0], windows[len(windows) - 1][0])


def test_a_torch_loader_batches_it() -> None:
    loader = torch.utils.data.DataLoader(SlidingWindowDataset(np.arange(40), None, 8, 4), batch_size=3)
    inputs, targets = next(iter(loader))
    assert inputs.shape == targets.shape == (3, 8)
    assert torch.equal(targets, inputs + 1)


def test_indices_outside_are_refused() -> None:
    windows = SlidingWindowDataset(range(10), None, 4)
    for index in (len(windows), -len(windows) - 1):
        with pytest.raises(IndexError):
            windows[index]


def test_text_needs_a_tokenizer() -> None:
    with pytest.raises(DataError, match="tokenizer"):
        SlidingWindowDataset("text", None, 4)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_an_evaluation_scores_each_target_once(sizes: list[int], length: int, stride: int, rows: int) -> None:
    stride = min(stride, length)
    starts = np.cumsum([0, *sizes])
    parts = [np.arange(a, b) for a, b in pairwise(starts)]
    seen: list[int] = []
    for inputs, targets in evaluation_windows(parts, length, stride, rows):
        assert inputs.shape == targets.shape
        assert inputs.shape[0] <= rows
        counted = targets != IGNORE_INDEX
        assert torch.equal(targets[counted], inputs[counted] + 1)  # the id before each target is its input
        seen += targets[counted].tolist()
    assert sorted(seen) == [int(i) for part in parts for i in part[1:]]


def test_overlapping_windows_give_each_target_context() -> None:
    length, stride = 8, 2
    batches = list(evaluation_windows([np.arange(50)], length, stride, 1))
    for _, targets in batches[1:]:
        first = int((targets[0] != IGNORE_INDEX).nonzero()[0])
        assert first >= length - stride


def test_a_stride_that_would_leave_ids_out_is_refused() -> None:
    with pytest.raises(DataError, match="1 to 4"):
        list(evaluation_windows([np.arange(9)], 4, 5, 1))


# ---- over shards -----------------------------------------------------------------------------------


@pytest.fixture
def reader(tmp_path: Path) -> ShardReader:
    with ShardWriter(tmp_path / "data", vocab_size=2**24, shard_tokens=900) as writer:
        for start in range(0, 3000, 300):
            writer.write(np.arange(start, start + 300))
    return ShardReader(tmp_path / "data")


def test_windows_over_shards_are_those_over_their_ids(reader: ShardReader) -> None:
    windows = SlidingWindowDataset(reader, None, 16, 5)
    over_ids = [
        SlidingWindowDataset(reader.tokens(shard), None, 16, 5) for shard in range(len(reader.shards))
    ]
    expected = [part[i] for part in over_ids for i in range(len(part))]
    assert len(windows) == len(expected)
    for found, wanted in zip((windows[i] for i in range(len(windows))), expected, strict=True):
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1], wanted[1])
    with pytest.raises(DataError, match="900 tokens are too few"):
        SlidingWindowDataset(reader, None, 900)


def test_what_goes_to_a_worker_is_a_name_and_a_plan(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16, seed=2)
    mixture = Mixture([sampler, sampler], [2, 1], block=12)
    for dataset in (
        SlidingWindowDataset(reader, None, 16),
        SampleDataset(sampler),
        SampleDataset(mixture, 50),
        SampleBatches(mixture, 4, 9),
    ):
        data = pickle.dumps(dataset)
        assert len(data) < 2000
        assert len(pickle.loads(data)) == len(dataset)


def test_nothing_is_read_before_it_is_asked_for(reader: ShardReader) -> None:
    for shard in reader.shards:
        shard.path.unlink()
    assert len(SlidingWindowDataset(reader, None, 16)) > 0
    assert sum(map(len, shard_parts(reader))) == 3000


def test_evaluation_reads_shards_slice_by_slice(reader: ShardReader) -> None:
    parts = [reader.tokens(shard) for shard in range(len(reader.shards))]
    found = list(evaluation_windows(shard_parts(reader), 64, 48, 3))
    expected = list(evaluation_windows(parts, 64, 48, 3))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize(("workers", "dtype"), [(0, "int64"), (2, "int64"), (0, "uint32"), (2, "uint32")])
def test_a_loader_over_samples_gives_the_plan(reader: ShardReader, workers: int, dtype: Any) -> None:
    wide, sampler = Sampler(reader, 16, seed=4), Sampler(reader, 16, seed=4, dtype=dtype)

    def of(first: int, rows: int) -> torch.Tensor:
        return torch.from_numpy(wide.batch(first, rows)[0])

    loader = DataLoader(SampleDataset(sampler), batch_size=7, num_workers=workers)
    rows = torch.cat([inputs for inputs, _ in loader])
    assert rows.dtype == getattr(torch, dtype)
    assert torch.equal(rows.to(torch.int64), of(0, len(sampler)))
    parts = []
    for rank in range(3):
        batches = SampleBatches(sampler, 2, 5, first_step=1, rank=rank, ranks=3)
        parts.append([inputs for inputs, _ in DataLoader(batches, batch_size=None, num_workers=workers)])
    for step, ranks in enumerate(zip(*parts, strict=True), start=1):
        assert torch.equal(torch.cat(ranks).to(torch.int64), of(6 * step, 6))


def test_samples_outside_are_refused(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16)
    with pytest.raises(IndexError):
        SampleDataset(sampler, 10)[10]
    with pytest.raises(DataError, match="no end"):
        SampleDataset(Mixture([sampler], [1], block=4))
    with pytest.raises(DataError, match="rank 3 of 3"):
        SampleBatches(sampler, 2, 5, rank=3, ranks=3)
