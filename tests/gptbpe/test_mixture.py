"""Mixtures: exact shares, no gaps, caps, stages, and the same global batches for any number of ranks."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import Mixture, Sampler, ShardReader, ShardWriter
from gptbpe.errors import ShardError, ShardMismatchError


def dataset(folder: Path, tokens: int, first: int) -> ShardReader:
    with ShardWriter(folder, vocab_size=2**24) as writer:
        for start in range(first, first + tokens, 50):
            writer.write(np.arange(start, min(start + 50, first + tokens)))
    return ShardReader(folder)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> list[ShardReader]:
    folder = tmp_path_factory.mktemp("mixture")
    return [
        dataset(folder / str(number), tokens, 100_000 * number)
        for number, tokens in enumerate((1700, 5000, 900))
    ]


@pytest.fixture(scope="module")
def samplers(readers: list[ShardReader]) -> list[Sampler]:
    return [
        Sampler(readers[0], 16, seed=1),
        Sampler(readers[1], 16, seed=1, pack=True),
        Sampler(readers[2], 16, seed=1, order="block"),
    ]


def test_every_block_has_its_quotas_and_no_source_has_a_gap(samplers: list[Sampler]) -> None:
    mixture = Mixture(samplers, [0.2, 0.5, 0.3], block=20)
    assert mixture.quotas == [[4, 10, 6]]
    assert mixture.length is None
    found = [mixture.source(g) for g in range(200)]
    for start in range(0, 200, 20):
        assert Counter(source for source, _ in found[start : start + 20]) == {0: 4, 1: 10, 2: 6}
    for source, quota in enumerate((4, 10, 6)):
        numbers = sorted(number for which, number in found if which == source)
        assert numbers == list(range(10 * quota))
    assert [source for source, _ in found[:20]] != [source for source, _ in found[20:40]]


def test_rows_are_those_of_the_source(samplers: list[Sampler]) -> None:
    mixture = Mixture(samplers, [1, 1, 1], block=9, seed=3)
    inputs, targets = mixture.batch(5, 60)
    masked = mixture.masked_batch(5, 60)
    assert np.array_equal(masked.inputs, inputs)
    for row in range(60):
        source, _ = mixture.source(5 + row)
        begin = 100_000 * source
        real = targets[row][targets[row] >= 0]
        assert ((real >= begin) & (real < begin + 50_000)).all()


@given(
    ranks=st.sampled_from([1, 2, 3, 4, 6, 8, 12]),
    micro=st.integers(1, 3),
    steps=st.integers(1, 2),
    first=st.one_of(st.integers(0, 3000), st.integers(0, 2**40)),
    block=st.integers(12, 90),
    seed=st.integers(0, 2**64 - 1),
)
def test_any_world_reads_the_same_global_batches(
    samplers: list[Sampler], ranks: int, micro: int, steps: int, first: int, block: int, seed: int
) -> None:
    """From any point, over stages and a cap, in windows, packed rows and blocks."""
    stages = {0: [1, 1, 2], 5 * block: [3, 1, 0], 9 * block: [1, 1, 1]}
    mixture = Mixture(samplers, stages, block=block, seed=seed, max_epochs=[None, 1.5, None])
    size = ranks * micro * steps
    inputs, targets = mixture.batch(first, size)
    parts = [
        mixture.batch(first + (rank * steps + step) * micro, micro)
        for rank in range(ranks)
        for step in range(steps)
    ]
    assert np.array_equal(np.concatenate([part[0] for part in parts]), inputs)
    assert np.array_equal(np.concatenate([part[1] for part in parts]), targets)


def test_a_cap_is_used_up_exactly(samplers: list[Sampler]) -> None:
    n = len(samplers[2])
    mixture = Mixture(samplers, [1, 1, 1], block=30, max_epochs=[None, None, 1.0])
    assert mixture.length is None
    found = [mixture.source(g) for g in range(30 * (n // 10 + 3))]
    assert sorted(number for source, number in found if source == 2) == list(range(n))
    assert {source for source, _ in found[-30:]} == {0, 1}
    stopped = Mixture(samplers, [1, 1, 1], block=30, max_epochs=[None, None, 1.0], exhausted="stop")
    assert stopped.length == n // 10 * 30
    with pytest.raises(ShardError, match="where the mixture ends"):
        stopped.batch(stopped.length - 1, 2)
    stopped.batch(stopped.length - 1, 1)


def test_weights_can_change_while_training(samplers: list[Sampler]) -> None:
    """A state from before a stage was added goes on with it; nothing is lost or repeated."""
    before = Mixture(samplers, [1, 1, 1], block=12)
    state = before.state(36)
    after = Mixture(samplers, {0: [1, 1, 1], 48: [0, 1, 3]}, block=12)
    assert after.resume(state) == 36
    assert [after.source(g) for g in range(48)] == [before.source(g) for g in range(48)]
    found = [after.source(g) for g in range(96)]
    for source in range(3):
        numbers = sorted(number for which, number in found if which == source)
        assert numbers == list(range(len(numbers)))
    with pytest.raises(ShardMismatchError, match="mixture plan"):
        after.resume(before.state(60))  # it was saved after samples that the new plan has others for
    with pytest.raises(ShardMismatchError, match="mixture plan"):
        Mixture(samplers, [1, 2, 1], block=12).resume(state)
    assert before.resume(before.state(10**12)) == 10**12


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ([1, 1], {}, "weights"),
        ([1, -1, 1], {}, "weights"),
        ([0, 0, 0], {}, "weights"),
        ([1, float("nan"), 1], {}, "weights"),
        ([1, 1, 10**6], {}, "larger block"),
        ({0: [1, 1, 1], 13: [1, 1, 1]}, {}, "edge of a block of 12 samples, such as 12 or 24"),
        ({5: [1, 1, 1]}, {}, "0 for the first stage"),
        ([1, 1, 1], {"max_epochs": [0.0, None, None]}, "max_epochs"),
        ([1, 1, 1], {"max_epochs": [1.0]}, "3 sources"),
        ([1, 1, 1], {"exhausted": "repeat"}, "exhausted"),
        ([1, 1, 1], {"seed": -1}, "seed"),
        ([1, 1, 1], {"block": 0}, "block"),
    ],
)
def test_impossible_mixtures_are_refused(
    samplers: list[Sampler], weights: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ShardError, match=message):
        Mixture(samplers, weights, **{"block": 12, **options})


def test_sources_must_fit(samplers: list[Sampler], readers: list[ShardReader]) -> None:
    with pytest.raises(ShardError, match="sequence_length is 15, expected 16"):
        Mixture([samplers[0], Sampler(readers[1], 15)], [1, 1])
    with pytest.raises(ShardError, match="one sampler or more"):
        Mixture([], [])


def test_one_dataset_twice_has_two_orders(readers: list[ShardReader]) -> None:
    sampler = Sampler(readers[1], 16)
    mixture = Mixture([sampler, sampler], [1, 1], block=2)
    rows: dict[int, list[int]] = {0: [], 1: []}
    inputs, _ = mixture.batch(0, 40)
    for row in range(40):
        rows[mixture.source(row)[0]].append(int(inputs[row, 0]))
    assert rows[0] != rows[1]


def test_a_mixture_is_pickled_as_its_plan(samplers: list[Sampler]) -> None:
    mixture = Mixture(samplers, {0: [1, 1, 1], 24: [2, 1, 1]}, block=12, max_epochs=[None, 2.0, None])
    data = pickle.dumps(mixture)
    assert len(data) < 3000
    copy = pickle.loads(data)
    assert copy.fingerprint == mixture.fingerprint
    assert np.array_equal(copy.batch(7, 5)[0], mixture.batch(7, 5)[0])
