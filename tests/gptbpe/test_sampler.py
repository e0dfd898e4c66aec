"""The order of training samples: the same as written down, on any machine, for any number of ranks.

``tests/data/permutation.toml`` and ``sampler.toml`` are read by the Rust tests, too. The twin below is the
documented order in plain Python; it and the compiled core must both give what stands in these files.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import Mixture, Sampler, ShardReader, ShardWriter
from gptbpe.errors import ShardError, ShardMismatchError

DATA = Path(__file__).parents[1] / "data"


# ---- a slow twin -----------------------------------------------------------------------------------

U64 = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & U64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & U64
    return x ^ x >> 31


class SplitMix:
    def __init__(self, seed: int, source: int, epoch: int, level: int) -> None:
        self.state = mix(seed + GOLDEN & U64)
        for word in (source, epoch, level):
            self.state = mix((self.state ^ word) + GOLDEN & U64)

    def next(self) -> int:
        self.state = self.state + GOLDEN & U64
        return mix(self.state)

    def below(self, bound: int) -> int:
        while True:
            product = self.next() * bound
            if product & U64 >= (2**64 - bound) % bound:
                return product >> 64


def spread(x: int, key: int) -> int:
    x ^= key
    x = (x ^ x >> 32) * 0xD6E8FEB86659FD93 & U64
    x = (x ^ x >> 32) * 0xD6E8FEB86659FD93 & U64
    return x ^ x >> 32


def permute(n: int, index: int, key: tuple[int, int, int, int]) -> int:
    """What stands at ``index`` in the order of ``0..n`` that belongs to ``key``."""
    random = SplitMix(*key)
    if n <= 65_536:
        table = list(range(n))
        for last in range(n - 1, 0, -1):
            other = random.below(last + 1)
            table[last], table[other] = table[other], table[last]
        return table[index]
    bits = (n - 1).bit_length()
    right_bits = (bits + 1) // 2
    keys = [random.next() for _ in range(6)]
    x = index
    while True:
        left, right = x >> right_bits, x & (1 << right_bits) - 1
        for even, odd in zip(keys[::2], keys[1::2], strict=True):
            left ^= spread(right, even) & (1 << bits - right_bits) - 1
            right ^= spread(left, odd) & (1 << right_bits) - 1
        x = left << right_bits | right
        if x < n:
            return x


def window(plan: dict[str, Any], sample: int) -> list[int]:
    """(shard, start) of a sample of a plan with partial = drop."""
    length, stride, seed = plan["sequence_length"], plan["stride"], plan["seed"]
    counts = [max(0, (tokens - 1 - length) // stride + 1) for tokens in plan["shards"]]
    n = sum(counts)
    epoch, at = divmod(sample, n)
    if plan["order"] == "sequential":
        index = at
    elif plan["order"] == "global":
        index = permute(n, at, (seed, 0, epoch, 0))
    else:
        io, groups = 256, 512
        group, within = divmod(at, io * groups)
        within = permute(min(io * groups, n - group * io * groups), within, (seed, 0, epoch, 1 + group))
        place = group * groups + within // io
        unit = permute(n // io, place, (seed, 0, epoch, 0)) if place < n // io else n // io
        rotation = SplitMix(seed, 0, epoch, U64 - 1).below(io)
        index = (unit * io + within % io + rotation) % n
    phase = 0
    if epoch > 0 and plan["order"] != "sequential":
        phase = SplitMix(seed, 0, epoch, U64).below(stride)
    shard = 0
    while index >= counts[shard]:
        index -= counts[shard]
        shard += 1
    return [shard, min(phase + index * stride, plan["shards"][shard] - 1 - length)]


def rows(name: str, table: str) -> list[dict[str, Any]]:
    return tomllib.loads((DATA / name).read_text())[table]


@pytest.mark.parametrize("row", rows("permutation.toml", "order"), ids=lambda row: f"n={row['n']}")
def test_the_twin_gives_the_recorded_permutations(row: dict[str, Any]) -> None:
    key = (row["seed"], row["source"], row["epoch"], row["level"])
    assert [permute(row["n"], at, key) for at in row["positions"]] == row["values"]


@pytest.mark.parametrize("plan", rows("sampler.toml", "plan"), ids=lambda plan: plan["name"])
def test_the_twin_and_the_sampler_give_the_recorded_windows(plan: dict[str, Any], tmp_path: Path) -> None:
    assert [window(plan, sample) for sample in plan["samples"]] == plan["windows"]
    sampler = Sampler(
        dataset(tmp_path, plan["shards"]),
        plan["sequence_length"],
        stride=plan["stride"],
        seed=plan["seed"],
        order=plan["order"],
        units=(256, 512) if plan["order"] == "block" else None,
    )
    assert [list(sampler.window(sample)) for sample in plan["samples"]] == plan["windows"]


def test_units_have_64_mib_whatever_a_row_has(tmp_path: Path) -> None:
    reader = dataset(tmp_path, [5000])
    for stride in (512, 2048):
        plan = Sampler(reader, 2048, order="block", stride=stride)
        bytes_of_rows = reader.dtype.itemsize * stride
        given = Sampler(reader, 2048, order="block", stride=stride, units=((64 << 20) // bytes_of_rows, 32))
        assert plan.fingerprint == given.fingerprint


# ---- properties ------------------------------------------------------------------------------------


def dataset(folder: Path, lengths: list[int]) -> ShardReader:
    """Shards of these lengths in which token i of the dataset is i."""
    with ShardWriter(folder / "data", vocab_size=2**24, shard_tokens=1) as writer:
        first = 0
        for length in lengths:
            writer.write(np.arange(first, first + length))
            first += length
    return ShardReader(folder / "data")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    return dataset(tmp_path_factory.mktemp("sampler"), [5000, 17, 3000, 9, 16, 2000])


@given(
    ranks=st.integers(1, 8),
    micro=st.integers(1, 5),
    accumulate=st.integers(1, 3),
    first=st.integers(0, 5000),
    order=st.sampled_from(["global", "block", "sequential"]),
    seed=st.integers(0, 2**64 - 1),
)
def test_any_world_reads_the_same_global_batches(
    reader: ShardReader, ranks: int, micro: int, accumulate: int, first: int, order: Any, seed: int
) -> None:
    """Whatever a global batch is split into, its parts put together are the batch."""
    sampler = Sampler(reader, 16, seed=seed, order=order)
    size = ranks * micro * accumulate
    inputs, targets = sampler.batch(first, size)
    parts = [
        sampler.batch(first + (rank * accumulate + step) * micro, micro)
        for rank in range(ranks)
        for step in range(accumulate)
    ]
    assert np.array_equal(np.concatenate([part[0] for part in parts]), inputs)
    assert np.array_equal(np.concatenate([part[1] for part in parts]), targets)
    assert np.array_equal(inputs[:, 1:], targets[:, :-1])


@pytest.mark.parametrize("order", ["global", "block", "sequential"])
def test_an_epoch_has_every_window_once_and_epochs_differ(reader: ShardReader, order: Any) -> None:
    sampler = Sampler(reader, 16, order=order)
    n = len(sampler)
    assert n == 312 + 1 + 187 + 124  # shards of 9 and 16 tokens are too short
    first = [sampler.window(sample) for sample in range(n)]
    second = [sampler.window(sample) for sample in range(n, 2 * n)]
    assert len(set(first)) == n
    assert sorted(first) == [
        (shard, 16 * k) for shard, count in ((0, 312), (1, 1), (2, 187), (5, 124)) for k in range(count)
    ]
    assert (first == second) == (order == "sequential")


def test_resuming_takes_one_number(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16, seed=3)
    stream = [sampler.batch(step * 4, 4)[0] for step in range(300)]
    state = sampler.state(4 * 170)
    again = Sampler(ShardReader(reader.path), 16, seed=3)
    start = again.resume(state)
    assert start == 680
    for step in range(170, 300):
        assert np.array_equal(again.batch(4 * step, 4)[0], stream[step])


@pytest.mark.parametrize(
    "other", [{"seed": 4}, {"stride": 8}, {"order": "block"}, {"sequence_length": 15}, {"reserve": 1}]
)
def test_a_state_of_another_plan_is_refused(reader: ShardReader, other: dict[str, Any]) -> None:
    plan = {"sequence_length": 16, "seed": 3}
    state = Sampler(reader, **plan).state(5)
    with pytest.raises(ShardMismatchError, match="another sampler plan"):
        Sampler(reader, **{**plan, **other}).resume(state)
    with pytest.raises(ShardMismatchError, match="not the state of a sampler"):
        Sampler(reader, **plan).resume({"step": 5})


def test_arrays_of_the_caller_are_filled(reader: ShardReader) -> None:
    for dtype in ("int64", "int32", "uint32"):
        sampler = Sampler(reader, 16, dtype=dtype)
        out = np.zeros((3, 16), dtype), np.zeros((3, 16), dtype)
        returned = sampler.batch(5, 3, out)
        assert returned[0] is out[0]
        fresh = sampler.batch(5, 3)
        assert fresh[0].dtype == dtype
        assert np.array_equal(out[0], fresh[0])
        assert np.array_equal(out[1], fresh[1])


@pytest.fixture(params=[65_536, 65_537])
def narrow_or_wide(request: pytest.FixtureRequest, tmp_path: Path) -> ShardReader:
    """Documents with the greatest ids that there may be, of 16 bits or of 32."""
    random = np.random.default_rng(1)
    with ShardWriter(tmp_path / "ids", vocab_size=request.param, eos=0, shard_tokens=1500) as writer:
        for length in random.integers(1, 60, 100):
            writer.write(random.integers(request.param - 500, request.param, length))
    return ShardReader(tmp_path / "ids")


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32"])
@pytest.mark.parametrize(
    "plan",
    [{}, {"order": "sequential", "stride": 5, "mask_overlap": True, "partial": "pad"}, {"pack": True}],
    ids=["windows", "overlap and padding", "packed"],
)
def test_a_type_changes_nothing_but_the_type(
    narrow_or_wide: ShardReader, dtype: Any, plan: dict[str, Any]
) -> None:
    reader = narrow_or_wide
    wide = Sampler(reader, 16, **plan)
    assert wide.stored_dtype == reader.dtype
    if dtype == "uint16" and reader.dtype == "uint32":
        with pytest.raises(ShardError, match=r"the ids in .* have 32 bits"):
            Sampler(reader, 16, dtype=dtype, **plan)
        with pytest.raises(ShardError, match="the shards hold ids of 32 bits"):
            wide.batch(0, 1, (np.zeros((1, 16), dtype), np.zeros((1, 16), dtype)))
        return
    sampler = Sampler(reader, 16, dtype=dtype, **plan)
    assert (sampler.fingerprint, pickle.loads(pickle.dumps(sampler)).dtype) == (wide.fingerprint, dtype)
    unsigned = dtype.startswith("u")
    for first in range(0, 3 * len(wide), 7):
        expected = wide.masked_batch(first, 5, mask_boundaries=first % 2 == 0)
        assert np.array_equal(expected.loss_mask, expected.targets >= 0)
        found = sampler.masked_batch(first, 5, mask_boundaries=first % 2 == 0)
        assert found.inputs.dtype == found.targets.dtype == dtype
        for name in ("inputs", "cu_seqlens", "position_ids", "loss_mask"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name
        missing = 0 if unsigned else -1
        assert np.array_equal(found.targets, np.where(expected.loss_mask, expected.targets, missing))
    if unsigned and plan:
        for call in (sampler.batch, sampler.batches):
            with pytest.raises(ShardError, match="masked_batch, whose loss_mask"):
                call(0, 2) if call == sampler.batch else call(2)
    else:
        pairs = zip(sampler.batch(3, 40), wide.batch(3, 40), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)


def test_a_mixture_holds_the_ids_of_its_sources(narrow_or_wide: ShardReader) -> None:
    samplers = [Sampler(narrow_or_wide, 8, order=order) for order in ("global", "sequential")]
    mixture = Mixture(samplers, [3, 1], block=8, dtype=narrow_or_wide.dtype)
    assert mixture.dtype == mixture.stored_dtype == narrow_or_wide.dtype
    expected = Mixture(samplers, [3, 1], block=8).batch(0, 24)
    assert all(np.array_equal(*pair) for pair in zip(mixture.batch(0, 24), expected, strict=True))
    if mixture.dtype == "uint32":
        with pytest.raises(ShardError, match="have 32 bits"):
            Mixture(samplers, [3, 1], dtype="uint16")


def test_arrays_that_cannot_be_filled_are_refused(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16)

    def zeros(shape: tuple[int, ...], dtype: str = "int64") -> np.ndarray:
        return np.zeros(shape, dtype)

    frozen = zeros((2, 16))
    frozen.setflags(write=False)
    good = zeros((2, 16))
    for out in (
        (zeros((3, 16)), zeros((3, 16))),
        (zeros((2, 15)), zeros((2, 15))),
        (zeros((2, 16), "int32"), good),
        (zeros((2, 16), "float32"), zeros((2, 16), "float32")),
        (zeros((16, 2)).T, good),
        (frozen, good),
        (good, good),
    ):
        with pytest.raises(ShardError):
            sampler.batch(0, 2, out)


def test_evaluation_scores_every_token_once(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16, stride=5, order="sequential", mask_overlap=True, partial="pad")
    _, targets = sampler.batch(0, len(sampler))
    scored = np.sort(targets[targets >= 0])
    first = np.cumsum([0, *(shard.tokens for shard in reader.shards)])[:-1]
    assert np.array_equal(scored, np.setdiff1d(np.arange(reader.total_tokens), first))
    assert set(np.unique(targets[targets < 0])) == {-1}


def test_reserved_tokens_are_left_alone(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16, reserve=500)
    assert sampler.batch(0, 3 * len(sampler))[1].max() < reader.total_tokens - 500


def test_a_short_text_says_both_numbers(tmp_path: Path) -> None:
    short = dataset(tmp_path, [10, 16])
    with pytest.raises(ShardError, match=r"16 tokens.*16 needs 17.*shorter sequence length or more text"):
        Sampler(short, 16)


@pytest.mark.parametrize(
    "plan",
    [
        {"sequence_length": 0},
        {"sequence_length": -1},
        {"sequence_length": 8, "stride": 0},
        {"sequence_length": 8, "seed": -1},
        {"sequence_length": 8, "seed": 2**64},
        {"sequence_length": 8, "reserve": -1},
        {"sequence_length": 8, "order": "random"},
        {"sequence_length": 8, "units": (2, 2)},
        {"sequence_length": 8, "order": "block", "units": (0, 2)},
        {"sequence_length": 8, "order": "block", "units": (2, -1)},
        {"sequence_length": 8, "partial": "pad"},
        {"sequence_length": 8, "mask_overlap": True},
        {"sequence_length": 8, "dtype": "float32"},
    ],
)
def test_impossible_plans_are_refused(reader: ShardReader, plan: dict[str, Any]) -> None:
    with pytest.raises(ShardError):
        Sampler(reader, **plan)


def test_samples_before_the_first_are_refused(reader: ShardReader) -> None:
    with pytest.raises(ShardError, match="begin at 0"):
        Sampler(reader, 16).batch(-1, 2)


def test_far_samples_cost_nothing(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16)
    inputs, _ = sampler.batch(10**15, 2)
    assert np.array_equal(sampler.batch(10**15, 2)[0], inputs)


def test_threads_and_other_processes_read_the_same(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16, seed=9, dtype="int32")
    expected = sampler.batch(0, 500)[0]
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy.fingerprint == sampler.fingerprint
    found: dict[int, np.ndarray] = {}

    def read(part: int) -> None:
        found[part] = copy.batch(part * 50, 50)[0]

    threads = [threading.Thread(target=read, args=(part,)) for part in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(np.concatenate([found[part] for part in range(10)]), expected)


# ---- goals -----------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="the files are sparse")
def test_a_sampler_of_10_to_the_12_samples_takes_no_memory(tmp_path: Path) -> None:
    """466 sparse files in llm.c's format, of 2^31 - 1 tokens each, and windows that begin one token apart."""
    header = np.zeros(256, np.int32)
    header[:3] = 20240520, 1, 2**31 - 1
    for number in range(466):
        with (tmp_path / f"tokens_{number:03}.bin").open("wb") as file:
            file.write(header.tobytes())
            try:
                file.truncate(1024 + 2 * (2**31 - 1))
            except OSError:
                pytest.skip("this file system has no files of 4 GiB")
    reader = ShardReader(tmp_path, vocab_size=50_257)
    Sampler(reader, 1024).batch(0, 1)  # what is made once in a process
    tracked = [resident()]
    samplers = [Sampler(reader, 1024, stride=1, seed=seed) for seed in range(10)]
    tracked.append(resident())
    assert len(samplers[0]) > 10**12
    assert (tracked[1] - tracked[0]) / 10 < 2**20
    for sampler in samplers:
        inputs, _ = sampler.batch(sampler.resume(sampler.state(7 * 10**12 + 5)), 1)
        assert not inputs.any()


def resident() -> int:
    """Bytes of memory that are this process's own."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_folder_is_a_dataset(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, vocab_size=300) as writer:
        writer.write(range(100))
    from_reader, from_folder = Sampler(ShardReader(tmp_path), 8), Sampler(tmp_path, 8)
    assert from_folder.fingerprint == from_reader.fingerprint
    assert (from_folder.batch(0, 4)[0] == from_reader.batch(0, 4)[0]).all()
