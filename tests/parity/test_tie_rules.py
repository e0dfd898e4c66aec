"""The tie rules against the programs they are named after."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from gptbpe import Tokenizer

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
END = "<|endoftext|>"
CORPORA = [("tinyshakespeare", None), ("zh_20M", 600_000), ("bible46_10M", 1_000_000)]


def _text(corpus: Callable[..., bytes], name: str, limit: int | None) -> str:
    return corpus(name, limit).decode(errors="ignore").replace(END, "")


def _pairs(tok: Tokenizer) -> list[tuple[bytes, bytes]]:
    return [(tok.token_bytes(left), tok.token_bytes(right)) for left, right in tok.merges]


@pytest.mark.parametrize(("name", "limit"), CORPORA, ids=[name for name, _ in CORPORA])
def test_huggingface(name: str, limit: int | None, corpus: Callable[..., bytes]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    text = _text(corpus, name, limit)
    pre: Any = tokenizers.pre_tokenizers
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    split = pre.Split(tokenizers.Regex(GPT2), "isolated")
    theirs.pre_tokenizer = pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = pre.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=8192, initial_alphabet=alphabet, show_progress=False)
    theirs.train_from_iterator([text], trainer)

    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    bytes_of = {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(others)}
    expected = [
        tuple(bytes(bytes_of[character] for character in token) for token in merge)
        for merge in json.loads(theirs.to_str())["model"]["merges"]
    ]
    ours = Tokenizer.train_from_texts(
        [text], 8192, pattern="gpt2", tie_break="huggingface", special_tokens=()
    )
    assert _pairs(ours) == expected


@pytest.mark.parametrize("name", ["tinyshakespeare", "zh_20M", "linux_60M"])
def test_first_seen_is_the_first_maximum_of_a_dict(name: str, corpus: Callable[..., bytes]) -> None:
    """The rule of minbpe in its own way: ``max(counts, key=counts.get)`` over pairs in order of the text."""
    tokenizers = pytest.importorskip("tokenizers")
    text = _text(corpus, name, 20_000)
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(GPT2), "isolated")
    chunks = [list(text[start:stop].encode()) for _, (start, stop) in split.pre_tokenize_str(text)]
    expected = []
    for new in range(256, 356):
        counts: dict[tuple[int, int], int] = {}
        for chunk in chunks:
            for pair in pairwise(chunk):
                counts[pair] = counts.get(pair, 0) + 1
        best = max(counts, key=lambda pair: counts[pair])
        expected.append(best)
        chunks = [_merge(chunk, best, new) for chunk in chunks]
    ours = Tokenizer.train_from_texts([text], 356, pattern="gpt2", tie_break="first-seen", special_tokens=())
    assert list(ours.merges) == expected


def _merge(chunk: list[int], pair: tuple[int, int], new: int) -> list[int]:
    merged: list[int] = []
    at = 0
    while at < len(chunk):
        if tuple(chunk[at : at + 2]) == pair:
            merged.append(new)
            at += 2
        else:
            merged.append(chunk[at])
            at += 1
    return merged
