"""Is the order as random as numpy's permutation? The same statistics reject a network that mixes badly.

A bijection can be a bad shuffle: a Feistel network whose round function keeps low bits apart puts samples of
one parity into a whole batch, and nothing but statistics shows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gptbpe import Sampler, ShardReader, ShardWriter

N = 2**18
"""Samples: above 65,536, where the order is a network and no table."""
BATCH = 512
LAGS = (1, 2, 3, 8, 64, 512)
Order = npt.NDArray[Any]


def statistics(order: Order) -> dict[str, float]:
    """Numbers that a random order has within some noise."""
    batches = order.reshape(-1, BATCH)
    odd = (order & 1).astype(float) - 0.5
    values = order / (N / 2) - 1
    places = np.arange(N)
    cells = np.bincount((places * 64 // N) * 64 + order * 64 // N, minlength=4096)
    return {
        "spread of the share of odd numbers in a batch": float((batches & 1).mean(axis=1).std()),
        "residues mod 256 in a batch": float(np.mean([len(np.unique(batch & 255)) for batch in batches])),
        "chi-square of (place, value) cells": float(((cells - N / 4096) ** 2).sum() / (N / 4096)),
        **{f"parity at lag {lag}": float((odd[lag:] * odd[:-lag]).mean()) for lag in LAGS},
        **{f"value at lag {lag}": float((values[lag:] * values[:-lag]).mean()) for lag in LAGS},
    }


def weak_feistel(seed: int) -> Order:
    """A network whose round function is multiply, add, mask: low bits depend on low bits only."""
    half, mask = 9, np.uint64(2**9 - 1)
    keys = np.random.default_rng(seed).integers(0, 2**32, 6, dtype=np.uint64)
    index = np.arange(N, dtype=np.uint64)
    left, right = index >> np.uint64(half), index & mask
    for key in keys:
        left, right = right, left ^ ((right * np.uint64(2654435761) + key) & mask)
    return (left << np.uint64(half) | right).astype(np.int64)


@pytest.fixture(scope="module")
def noise() -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each number over numpy's permutations."""
    found = [statistics(np.random.default_rng(seed).permutation(N)) for seed in range(40)]
    return {
        name: (
            float(np.mean([row[name] for row in found])),
            float(np.std([row[name] for row in found], ddof=1)),
        )
        for name in found[0]
    }


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    folder = tmp_path_factory.mktemp("shuffle")
    with ShardWriter(folder, vocab_size=2**24) as writer:
        writer.write(np.arange(N + 1))
    return ShardReader(folder)


def far(order: Order, noise: dict[str, tuple[float, float]]) -> dict[str, float]:
    """How many standard deviations off each number is."""
    return {name: (value - noise[name][0]) / noise[name][1] for name, value in statistics(order).items()}


@pytest.mark.parametrize("epoch", [0, 3])
def test_the_order_is_as_random_as_numpys(
    reader: ShardReader, noise: dict[str, tuple[float, float]], epoch: int
) -> None:
    order = Sampler(reader, 1, seed=11).batch(epoch * N, N)[0][:, 0]
    assert np.array_equal(np.sort(order), np.arange(N))
    found = far(order, noise)
    assert max(map(abs, found.values())) < 3, found


def test_the_same_numbers_reject_a_network_that_keeps_low_bits_apart(
    noise: dict[str, tuple[float, float]],
) -> None:
    order = weak_feistel(1)
    assert np.array_equal(np.sort(order), np.arange(N))
    found = far(order, noise)
    for name in (
        "spread of the share of odd numbers in a batch",
        "residues mod 256 in a batch",
        "parity at lag 1",
    ):
        assert abs(found[name]) > 20, found
