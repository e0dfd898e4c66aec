"""Sharing: one tokenizer among threads, across forks, and none of them waiting for another."""

from __future__ import annotations

import multiprocessing
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

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


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads(tok: Tokenizer, threads: int) -> None:
    with pytest.raises((ValueError, OverflowError), match=r"threads|negative"):
        tok.encode_batch(["a"], threads=threads)


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
