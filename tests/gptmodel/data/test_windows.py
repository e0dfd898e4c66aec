"""Windows against a slow, plain rule; each target of an evaluation exactly once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptmodel.data.windows import IGNORE_INDEX, SlidingWindowDataset, evaluation_windows, window_count
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
