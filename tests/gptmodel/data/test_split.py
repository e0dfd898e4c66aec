"""How much is held out: a tenth, within bounds, and never so much that there is nothing to train on."""

from __future__ import annotations

import pytest

from gptmodel.data.split import held_out_tokens


@pytest.mark.parametrize(
    ("lengths", "held_out"),
    [
        ([1_000_000], 100_000),
        ([10**9], 2**20),
        ([10**9, 5_000], 2**20),  # all of the last shard, and of the one before
        ([3_000, 3_000, 10], 1_024),
        ([17] * 100, 425),  # whole shards, a quarter of them
        ([16] * 100, 0),
        ([20_000], 2_000),
        ([6_000], 1_024),  # a short text: the floor
        ([2_000], 500),  # a shorter one: a quarter
        ([20], 0),  # less than a window would be left
        ([], 0),
    ],
)
def test_held_out_tokens(lengths: list[int], held_out: int) -> None:
    assert held_out_tokens(lengths, 16) == held_out
