"""Batches that threads make ahead: the same as without, whatever happens to process and files."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from gptbpe import Mixture, Sampler, ShardReader, ShardWriter
from gptbpe.errors import ShardError, ShardTruncatedError


@pytest.fixture
def reader(tmp_path: Path) -> ShardReader:
    with ShardWriter(tmp_path / "data", vocab_size=2**24, shard_tokens=3000) as writer:
        for start in range(0, 12_000, 300):
            writer.write(np.arange(start, start + 300))
    return ShardReader(tmp_path / "data")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint32"])
def test_a_stream_is_the_batches_in_order(reader: ShardReader, threads: int, dtype: str) -> None:
    sampler = Sampler(reader, 16, dtype=dtype)
    with sampler.batches(5, first=3, step=20, count=40, ahead=4, threads=threads) as stream:
        for number, (inputs, targets) in enumerate(stream):
            expected = sampler.batch(3 + 20 * number, 5)
            assert inputs.dtype == dtype
            assert np.array_equal(inputs, expected[0])
            assert np.array_equal(targets, expected[1])
    assert number == 39


def test_what_is_kept_stays_as_it_was(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16)
    with sampler.batches(4, count=30, ahead=3, threads=2) as stream:
        kept = [(inputs[1:3, ::2], targets) for inputs, targets in stream]
    gc.collect()
    for number, (inputs, targets) in enumerate(kept):
        expected = sampler.batch(4 * number, 4)
        assert np.array_equal(inputs, expected[0][1:3, ::2])
        assert np.array_equal(targets, expected[1])


def test_memory_is_used_again(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16)
    addresses = set()
    with sampler.batches(4, count=200, ahead=2) as stream:
        for inputs, _ in stream:
            addresses.add(inputs.__array_interface__["data"][0])
    # Of 200 batches; how many buffers are on their way at a time depends on the threads.
    assert len(addresses) <= 40


def test_arrays_may_be_changed(reader: ShardReader) -> None:
    with Sampler(reader, 16).batches(2, count=3) as stream:
        for inputs, _ in stream:
            inputs += 1


def test_no_thread_before_the_first_batch_and_none_after_the_last(reader: ShardReader) -> None:
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("threads are counted on Linux")

    before = {task.name for task in tasks.iterdir()}

    def new_threads() -> int:
        return len({task.name for task in tasks.iterdir()} - before)

    def ended() -> bool:
        # A thread that was waited for may be listed for a moment more.
        return any(new_threads() == 0 or os.sched_yield() for _ in range(100_000))

    stream = Sampler(reader, 16).batches(2, threads=2)
    assert new_threads() == 0
    next(stream)
    assert new_threads() == 2
    stream.close()
    assert ended()
    assert len(next(stream)[0]) == 2  # it goes on where it was
    assert new_threads() == 2
    del stream
    assert ended()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on_where_its_parent_was(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16)
    stream = sampler.batches(3, threads=2)
    for _ in range(5):
        next(stream)
    # Others read all the time, so that locks are held when the process is copied.
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            sampler.batch(0, 50)

    others = [threading.Thread(target=read) for _ in range(2)]
    for other in others:
        other.start()
    try:
        context = multiprocessing.get_context("fork")
        for _ in range(10):
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=lambda: sender.send((next(stream)[0], sampler.batch(7, 2)[0])))  # noqa: B023
            child.start()
            ahead, plain = receiver.recv()
            child.join()
            assert child.exitcode == 0
            assert np.array_equal(ahead, sampler.batch(15, 3)[0])
            assert np.array_equal(plain, sampler.batch(7, 2)[0])
    finally:
        stop.set()
        for other in others:
            other.join()
    assert np.array_equal(next(stream)[0], sampler.batch(15, 3)[0])


def test_an_error_comes_in_its_turn_and_can_be_tried_again(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16, order="sequential")
    per_shard = (3000 - 1) // 16
    path = reader.shards[1].path
    whole = path.read_bytes()
    with sampler.batches(per_shard, count=3, ahead=2) as stream:
        path.write_bytes(whole[:2000])
        inputs, _ = next(stream)
        assert np.array_equal(inputs, sampler.batch(0, per_shard)[0])
        for _ in range(2):
            with pytest.raises(ShardTruncatedError):
                next(stream)
        path.write_bytes(whole)
        assert np.array_equal(next(stream)[0], sampler.batch(per_shard, per_shard)[0])


def test_a_stream_ends_with_its_mixture(reader: ShardReader) -> None:
    sampler = Sampler(reader, 16)
    mixture = Mixture([sampler, sampler], [1, 1], block=10, max_epochs=[0.1, None], exhausted="stop")
    assert mixture.length is not None
    with mixture.batches(7, first=3) as stream:
        assert len(list(stream)) == (mixture.length - 3) // 7
    with mixture.batches(7, first=mixture.length - 7, count=2) as stream:
        next(stream)
        with pytest.raises(ShardError, match="where the mixture ends"):
            next(stream)


@pytest.mark.parametrize(
    "options",
    [{"ahead": 0}, {"threads": 0}, {"count": -1}, {"step": -1}, {"first": -1}, {"batch_size": 0}],
)
def test_impossible_streams_are_refused(reader: ShardReader, options: dict[str, int]) -> None:
    with pytest.raises(ShardError):
        Sampler(reader, 16).batches(**{"batch_size": 2, **options})
