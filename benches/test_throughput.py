"""Tokenizer throughput beside pinned peers, in one process and in turns, after equality has been shown.

A slow machine is slow for both sides, so the ratio is the figure to read; absolute speeds are good for one
machine on one day. Nothing here fails for being slow: clocks of shared machines are no gate. What fails is a
difference in ids, and a peer of another version than the one named.

    python -m pytest benches --capture=no
    python -m pytest benches --capture=no --benchmark-json=throughput.json
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from gptbpe import Tokenizer

SIZE = 1 << 20
ROUNDS = 5
PEERS = {"tiktoken": "0.14.0", "rustbpe": "0.1.0"}

Report = list[tuple[str, str, float, float]]


def made_text() -> str:
    """Words of a skewed vocabulary: the same megabyte everywhere."""
    choose = random.Random(0)
    syllables = ["the", "re", "an", "mo", "ti", "en", "o", "ca", "is", "lu", "er", "ba", "ing", "so", "pre"]
    words = ["".join(choose.choices(syllables, k=1 + i % 4)) for i in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return " ".join(choose.choices(words, weights=weights, k=SIZE // 6))


def texts() -> dict[str, str]:
    """The made text, and the beginnings of the real corpora that this machine has."""
    found = {"made words": made_text()}
    folder = Path(os.environ.get("GPTBPE_CORPORA") or "~/.cache/gptbpe-corpora").expanduser()
    for name, corpus in {"English": "enwiki_valid_5M", "C source": "linux_60M", "Chinese": "zh_20M"}.items():
        path = folder / f"{corpus}.txt"
        if path.exists():
            with path.open("rb") as file:
                found[name] = file.read(SIZE).decode("utf-8", "ignore")
    return found


TEXTS = texts()


def peer(name: str) -> Any:
    """Import a peer; skip where it is absent, fail where it is another version than the one compared with."""
    module = pytest.importorskip(name)
    assert version(name) == PEERS[name]
    return module


def in_turns(benchmark: Any, ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    """Return median seconds of both, measured ours, theirs, theirs, ours, …"""
    seconds: dict[Callable[[], Any], list[float]] = {ours: [], theirs: []}

    def timed(run: Callable[[], Any]) -> None:
        began = time.perf_counter()
        run()
        seconds[run].append(time.perf_counter() - began)

    for number in range(ROUNDS):
        for run in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            timed(run)
    benchmark.extra_info["peer_seconds"] = median(seconds[theirs])
    benchmark.extra_info["ratio"] = median(seconds[theirs]) / median(seconds[ours])
    benchmark.pedantic(ours, rounds=ROUNDS)
    return median(seconds[ours]), median(seconds[theirs])


def entry(what: str, name: str, seconds: tuple[float, float]) -> tuple[str, str, float, float]:
    megabytes = len(TEXTS[name].encode()) / 1e6
    return what, name, megabytes / seconds[0], megabytes / seconds[1]


@pytest.fixture(scope="module", params=["gpt2", "cl100k_base"])
def pair(request: pytest.FixtureRequest) -> tuple[Tokenizer, Any]:
    """Return a packaged encoding and tiktoken's encoder over the very same ranks."""
    tiktoken = peer("tiktoken")
    ours = Tokenizer.get(request.param)
    (regex,) = ours.regexes
    theirs = tiktoken.Encoding(
        request.param, pat_str=regex, mergeable_ranks=ours.ranks(), special_tokens=ours.special_tokens
    )
    return ours, theirs


@pytest.mark.parametrize("name", TEXTS)
def test_encode(benchmark: Any, report: Report, pair: tuple[Tokenizer, Any], name: str) -> None:
    ours, theirs = pair
    text = TEXTS[name]
    assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
    benchmark.group = "encode"
    seconds = in_turns(benchmark, lambda: ours.encode_ordinary(text), lambda: theirs.encode_ordinary(text))
    report.append(entry(f"encode {theirs.name}", name, seconds))


@pytest.mark.parametrize("name", TEXTS)
def test_decode(benchmark: Any, report: Report, pair: tuple[Tokenizer, Any], name: str) -> None:
    ours, theirs = pair
    ids = ours.encode_ordinary(TEXTS[name])
    assert ours.decode(ids) == theirs.decode(ids) == TEXTS[name]
    benchmark.group = "decode"
    seconds = in_turns(benchmark, lambda: ours.decode(ids), lambda: theirs.decode(ids))
    report.append(entry(f"decode {theirs.name}", name, seconds))


@pytest.mark.parametrize("name", TEXTS)
def test_train(benchmark: Any, report: Report, name: str) -> None:
    """Train 2,048 ids; the peer counts in the same process, on as many threads as it likes."""
    rustbpe = peer("rustbpe")
    text = TEXTS[name]
    (regex,) = Tokenizer.get("gpt2").regexes

    def ours() -> Tokenizer:
        return Tokenizer.train([text.encode()], vocab_size=2_048, pattern="gpt2", special_tokens=[])

    def theirs() -> Any:
        tokenizer = rustbpe.Tokenizer()
        tokenizer.train_from_iterator(iter([text]), 2_048, pattern=regex)
        return tokenizer

    expected = [bytes(token) for token, _ in theirs().get_mergeable_ranks()]
    trained = ours()
    assert [trained.token_bytes(id) for id in range(trained.vocab_size)] == expected
    benchmark.group = "train"
    report.append(entry("train 2,048", name, in_turns(benchmark, ours, theirs)))
