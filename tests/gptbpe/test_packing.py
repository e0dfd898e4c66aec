"""Packed documents: the recorded rows, every token in one place, and which documents stand in a row.

``tests/data/packing.toml`` is read by the Rust tests, too. The twin below is the documented rule in plain
Python; it and the compiled core must both give what stands there.
"""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import Sampler, ShardReader, ShardWriter
from gptbpe.errors import ShardError

DATA = Path(__file__).parents[1] / "data"
Fragment = tuple[int, int, bool]


def pack(capacity: int, begin: int, ends: list[int]) -> list[list[Fragment]]:
    """Rows of fragments (start, tokens, whether the document goes on): best fit, longest first."""
    fragments: list[Fragment] = []
    start = begin
    for end in ends:
        while end > start:
            length = min(capacity, end - start)
            fragments.append((start, length, start + length < end))
            start += length
    fragments.sort(key=lambda fragment: -fragment[1])
    rows: list[list[Fragment]] = []
    room: dict[int, int] = {}
    changed: list[int] = []  # rows by when they came to their room
    for fragment in fragments:
        fits = [row for row in changed if room[row] >= fragment[1]]
        if fits:
            least = min(room[row] for row in fits)
            row = [row for row in fits if room[row] == least][-1]
            changed.remove(row)
        else:
            row = len(rows)
            rows.append([])
            room[row] = capacity
        rows[row].append(fragment)
        room[row] -= fragment[1]
        changed.append(row)
    return rows


def dataset(folder: Path, lengths: list[int], shard_tokens: int = 10**6) -> ShardReader:
    """Documents of these lengths in which token i of the dataset is i."""
    with ShardWriter(folder / "data", vocab_size=2**24, shard_tokens=shard_tokens) as writer:
        first = 0
        for length in lengths:
            writer.write(np.arange(first, first + length))
            first += length
    return ShardReader(folder / "data")


@pytest.mark.parametrize("case", tomllib.loads((DATA / "packing.toml").read_text())["packing"])
def test_the_twin_and_the_sampler_give_the_recorded_rows(case: dict[str, Any], tmp_path: Path) -> None:
    capacity, begin, ends = case["capacity"], case["begin"], case["ends"]
    assert [list(map(list, row)) for row in pack(capacity, begin, ends)] == case["rows"]
    if begin == 0:
        reader = dataset(tmp_path, np.diff([0, *ends]).tolist())
        sampler = Sampler(reader, capacity, order="sequential", pack=True)
        inputs, targets = sampler.batch(0, len(sampler))
        for row, fragments in enumerate(case["rows"]):
            expected = [start + k for start, length, _ in fragments for k in range(length)]
            following = [
                start + k + 1 if k + 1 < length or goes_on else -1
                for start, length, goes_on in fragments
                for k in range(length)
            ]
            padding = capacity - len(expected)
            assert inputs[row].tolist() == expected + [0] * padding
            assert targets[row].tolist() == following + [-1] * padding


@pytest.fixture(scope="module")
def lengths() -> list[int]:
    return np.random.default_rng(3).lognormal(3, 1, 2000).astype(int).clip(1, 900).tolist()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> ShardReader:
    return dataset(tmp_path_factory.mktemp("packing"), lengths, shard_tokens=20_000)


@pytest.mark.parametrize("order", ["global", "block", "sequential"])
def test_no_token_is_dropped_in_any_epoch(reader: ShardReader, lengths: list[int], order: Any) -> None:
    sampler = Sampler(reader, 128, order=order, pack=True, seed=5)
    n = len(sampler)
    first_tokens = np.cumsum([0, *lengths])[:-1]
    for epoch in (0, 1):
        batch = sampler.masked_batch(epoch * n, n)
        # Every token is an input once; padding is what is left over, and has input 0.
        counts = np.bincount(batch.inputs.ravel(), minlength=reader.total_tokens)
        assert counts[0] >= 1
        assert (counts[1:] == 1).all()
        scored = np.sort(batch.targets[batch.loss_mask])
        assert np.array_equal(scored, np.setdiff1d(np.arange(reader.total_tokens), first_tokens))


def test_documents_in_a_row_are_told_apart(reader: ShardReader) -> None:
    sampler = Sampler(reader, 128, pack=True)
    batch = sampler.masked_batch(0, 200)
    assert batch.cu_seqlens.shape == (200, 129)
    for row in range(200):
        bounds = batch.cu_seqlens[row]
        assert bounds[0] == 0
        assert (np.diff(bounds) >= 0).all()
        assert bounds[-1] == 128
        for start, end in pairwise(bounds):
            assert batch.position_ids[row, start:end].tolist() == list(range(end - start))
            inside = batch.inputs[row, start:end]
            assert (np.diff(inside) == 1).all() or (inside == 0).all()


def test_packing_needs_documents(tmp_path: Path) -> None:
    np.arange(100, dtype=np.uint16).tofile(tmp_path / "raw.bin")
    raw = ShardReader.open_raw(tmp_path / "raw.bin", "uint16", vocab_size=100)
    with pytest.raises(ShardError, match="where documents end"):
        Sampler(raw, 8, pack=True)


@pytest.mark.parametrize("plan", [{"stride": 4}, {"partial": "pad", "order": "sequential"}])
def test_packed_rows_do_not_overlap(reader: ShardReader, plan: dict[str, Any]) -> None:
    with pytest.raises(ShardError, match="whole documents"):
        Sampler(reader, 8, pack=True, **plan)
    with pytest.raises(ShardError, match="no windows"):
        Sampler(reader, 8, pack=True).window(0)


def test_packing_is_part_of_the_plan(reader: ShardReader) -> None:
    assert Sampler(reader, 8, pack=True).fingerprint != Sampler(reader, 8).fingerprint


def test_reserved_tokens_are_in_no_row(reader: ShardReader) -> None:
    sampler = Sampler(reader, 64, pack=True, reserve=700)
    inputs, targets = sampler.batch(0, len(sampler))
    assert inputs.max() == reader.total_tokens - 701
    assert targets.max() <= reader.total_tokens - 701


# ---- windows ---------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(1, 40), min_size=2, max_size=30),
    length=st.integers(1, 24),
    first=st.integers(0, 50),
)
def test_windows_know_their_documents(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], length: int, first: int
) -> None:
    reader = dataset(tmp_path_factory.mktemp("windows"), lengths)
    if reader.total_tokens <= length:
        return
    sampler = Sampler(reader, length, seed=first)
    begins = np.cumsum([0, *lengths])
    batch = sampler.masked_batch(first, 3, mask_boundaries=True)
    plain_inputs, plain_targets = sampler.batch(first, 3)
    assert np.array_equal(batch.inputs, plain_inputs)
    at_a_beginning = np.isin(plain_targets, begins)
    assert np.array_equal(batch.loss_mask, ~at_a_beginning)
    assert np.array_equal(batch.targets, np.where(at_a_beginning, -1, plain_targets))
    for row in range(3):
        bounds = [0, *(c for c in range(1, length) if batch.inputs[row, c] in begins), length]
        padded = bounds + [length] * (length + 1 - len(bounds))
        assert batch.cu_seqlens[row].tolist() == padded[: length + 1]
        expected = np.concatenate([np.arange(b - a) for a, b in pairwise(bounds)])
        assert np.array_equal(batch.position_ids[row], expected)


def test_more_documents_than_there_is_room_for(reader: ShardReader) -> None:
    sampler = Sampler(reader, 256, order="sequential", pack=True)
    last = len(sampler) - 1
    with pytest.raises(ShardError, match=r"max_documents is 1, expected at least"):
        sampler.masked_batch(last, 1, max_documents=1)
    with pytest.raises(ShardError, match="1 or more"):
        sampler.masked_batch(0, 1, max_documents=0)


def test_masked_arrays_of_the_caller_are_filled(reader: ShardReader) -> None:
    sampler = Sampler(reader, 64, pack=True, dtype="int32")
    out = sampler.masked_batch(0, 4)
    again = sampler.masked_batch(9, 4, out=out)
    assert again is out
    fresh = sampler.masked_batch(9, 4)
    for name in ("inputs", "targets", "cu_seqlens", "position_ids", "loss_mask"):
        assert np.array_equal(getattr(out, name), getattr(fresh, name))
