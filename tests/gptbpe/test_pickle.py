"""Tokenizers as values: equal, hashed, pickled, copied, never changed."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import pytest

from gptbpe import Tokenizer


def test_pickling(tok: Tokenizer, chars: Tokenizer, text: str) -> None:
    for one in (tok, chars, Tokenizer.get("gpt2")):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(one, protocol))
            assert again == one
            assert again.encode_ordinary("the best") == one.encode_ordinary("the best")


def test_copying_gives_the_same(tok: Tokenizer) -> None:
    assert copy.copy(tok) is tok
    assert copy.deepcopy({"tok": tok})["tok"] is tok


def test_equality_is_by_definition(tok: Tokenizer, text: str) -> None:
    again = Tokenizer.train(text.encode(), vocab_size=340, special_tokens=["<|endoftext|>", "<|pad|>"])
    assert again == tok
    assert hash(again) == hash(tok)
    assert len({tok, again}) == 1
    others = [
        Tokenizer.train(text.encode(), vocab_size=339, special_tokens=["<|endoftext|>", "<|pad|>"]),
        Tokenizer.train(text.encode(), vocab_size=340, special_tokens=["<|endoftext|>", "<|end|>"]),
        Tokenizer.train(
            text.encode(), vocab_size=340, special_tokens=["<|endoftext|>", "<|pad|>"], pattern="gpt2"
        ),
        Tokenizer.characters(text.encode()),
    ]
    assert len({tok, *others}) == 5
    assert tok != "tok"
    assert (tok == 5) is False


def test_nothing_changes_it(tok: Tokenizer) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        tok.vocab_size = 5
    with pytest.raises(AttributeError):
        tok.anything = 5
    with pytest.raises(AttributeError):
        del tok._core
    tok.special_tokens["<new>"] = 1
    assert "<new>" not in tok.special_tokens
    tok.merges.clear()
    assert tok.merges


def test_spawned_processes_take_it(tok: Tokenizer, text: str) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(tok.encode, (text,)) == tok.encode(text)
