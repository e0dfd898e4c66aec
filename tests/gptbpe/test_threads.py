"""Sharing: one tokenizer among threads, across forks, and none of them waiting for another."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gptbpe import Tokenizer


def test_threads_share_one(tok: Tokenizer, text: str) -> None:
    expected = tok.encode(text)
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        start.wait()
        for _ in range(50):
            if tok.encode(text) != expected or tok.decode(expected) != text:
                return False
            if tok.encode_batch([text] * 5, threads=3) != [expected] * 5:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.parametrize("threads", [1, 2, 7, 64])
def test_any_number_of_threads_gives_the_same(tok: Tokenizer, text: str, threads: int) -> None:
    texts = [text[:length] for length in range(0, len(text), 7)]
    expected = [tok.encode(part) for part in texts]
    assert tok.encode_batch(texts, threads=threads) == expected
    ids, offsets = tok.encode_ragged(texts, threads=threads)
    assert ids.tolist() == [id for ids in expected for id in ids]
    assert offsets.tolist()[-1] == len(ids)


@pytest.mark.parametrize("threads", [0, -1, -(10**30)])
def test_no_threads(tok: Tokenizer, threads: int) -> None:
    for call in (tok.encode_batch, lambda texts, threads: Tokenizer.train(texts[0], 300, threads=threads)):
        with pytest.raises(ValueError, match=f"threads must be at least 1, found {threads}"):
            call([b"a"], threads=threads)


def test_absurdly_many_threads(tok: Tokenizer, text: str) -> None:
    texts = [text * 20_000] * 3
    assert tok.encode_ragged(texts, threads=10**15)[0].tolist() == [
        id for part in tok.encode_batch(texts, threads=1) for id in part
    ]
    trained = Tokenizer.train(text.encode(), 300, threads=10**15)
    assert trained == Tokenizer.train(text.encode(), 300, threads=1)


NO_THREADS = """
import os, random, resource, sys
from gptbpe import Tokenizer
tok = Tokenizer.train(b"low lower lowest", 262)
dice = random.Random(1)
text = b" ".join(bytes(dice.choices(b"abcdef", k=8)) for _ in range(400_000))
one = tok.encode_ragged([text] * 2, threads=1)[0], Tokenizer.train(text, 400, threads=1)
if os.geteuid() == 0:
    os.setuid(65534)  # root has no limit
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
many = tok.encode_ragged([text] * 2, threads=4)[0], Tokenizer.train(text, 400, threads=4)
assert (one[0] == many[0]).all() and one[1] == many[1]
encoded = tok.encode_files(sys.argv[1], separator=None, threads=4, batch_bytes=1000)
assert sum(len(ids) for ids, _ in encoded) == len(tok.encode("low " * 10_000))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on threads")
def test_a_system_that_gives_no_threads() -> None:
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(b"low " * 10_000)
        file.flush()
        Path(file.name).chmod(0o644)  # of another user
        command = [sys.executable, "-c", NO_THREADS, file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_other_threads_run_meanwhile(tok: Tokenizer) -> None:
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    text = b"lower lowest news " * 2_000_000
    during = 0
    for _ in range(200):  # a busy machine may not run the other thread in every one of the calls
        before = ticks
        tok.count(text)
        during = ticks - before
        if during > 5:
            break
    done.set()
    thread.join()
    assert during > 5


def test_ctrl_c_ends_a_batch(tok: Tokenizer) -> None:
    dice = random.Random(1)
    texts = [bytes(dice.choices(b"abcdefgh ", k=100_000)) for _ in range(40)] * 25
    sent: list[float] = []
    began = time.process_time()

    def interrupt() -> None:
        # The moment is counted in work done, so that it is the same on a busy machine.
        while time.process_time() < began + 0.5:
            time.sleep(0.005)
        sent.append(time.process_time())
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    ended = []
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            ended.append(tok.encode_ragged(texts, threads=2))
        assert time.process_time() - sent[0] < 3.0  # 0.2 s
    finally:
        signal.signal(signal.SIGINT, previous)
        thread.join()
    assert not ended


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda tok: tok.decode(itertools.repeat(104)), id="ids without end"),
        pytest.param(lambda tok: tok.encode_batch(itertools.repeat("a")), id="texts without end"),
        pytest.param(lambda tok: tok.split(b"a b " * 50_000_000), id="split"),
        pytest.param(lambda tok: tok.encode(b"a" * 64_000_000), id="one long pre-token"),
        pytest.param(lambda tok: tok.count(b"a b " * 200_000_000), id="count"),
    ],
)
def test_ctrl_c_ends_a_call(call: Callable[[Tokenizer], object], tok: Tokenizer) -> None:
    class HeardError(Exception):
        pass

    def hear(number: int, frame: object) -> None:
        raise HeardError

    previous = signal.signal(signal.SIGVTALRM, hear)
    ended = []
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.1)  # of work done, so that it is the same on a busy machine
        with pytest.raises(HeardError):
            ended.append(call(tok))
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
    assert not ended


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forks_go_on(tok: Tokenizer, text: str) -> None:
    expected = tok.encode(text)
    tok.encode_batch([text] * 20, threads=4)  # warm before the fork
    context = multiprocessing.get_context("fork")
    busy = threading.Event()

    def keep_busy() -> None:
        while not busy.is_set():
            tok.encode_batch([text] * 20, threads=2)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        for _ in range(10):
            reader, writer = context.Pipe(duplex=False)
            child = context.Process(target=_child, args=(tok, text, writer))
            child.start()
            assert reader.poll(60)
            assert reader.recv() == [expected] * 4
            child.join(60)
            assert child.exitcode == 0
    finally:
        busy.set()
        thread.join()


def _child(tok: Tokenizer, text: str, writer: object) -> None:
    writer.send(tok.encode_batch([text] * 4, threads=2))  # type: ignore[attr-defined]
