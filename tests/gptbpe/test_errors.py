"""The exception tree: what can be caught as what, and that a panic is an exception like others."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable

import pytest

from gptbpe import Tokenizer, errors
from gptbpe._core import CoreTokenizer, WordCounter
from gptbpe.compat.tiktoken import encoding_name_for_model, get_encoding


def test_one_base() -> None:
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if kind.__module__ == errors.__name__ and not issubclass(kind, Warning):
            assert issubclass(kind, errors.GptBpeError), name
            assert issubclass(kind, (ValueError, ImportError)) or kind in (
                errors.GptBpeError,
                errors.InternalError,
            )


def test_the_tree_is_drawn_whole() -> None:
    assert errors.__doc__ is not None
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if kind.__module__ == errors.__name__:
            assert name in errors.__doc__


def test_the_core_knows_every_name() -> None:
    for name in ("InternalError", "PatternError", "ShardChecksumError", "TrainingError"):
        assert hasattr(errors, name)


def test_unknown_token_keeps_its_values() -> None:
    tok = Tokenizer.train(b"low low", vocab_size=258)
    with pytest.raises(errors.UnknownTokenError) as caught:
        tok.decode([1, 2, 10**6])
    error = caught.value
    assert (error.index, error.id, error.vocab_size) == (2, 10**6, 258)
    again = pickle.loads(pickle.dumps(error))
    assert (again.index, again.id, again.vocab_size, str(again)) == (2, 10**6, 258, str(error))


LONG = "x" * 5_000_000


@pytest.mark.parametrize(
    "call",
    [
        lambda tok: Tokenizer.train(b"a b", 300, pattern=LONG),
        lambda tok: Tokenizer.train(b"a b", 300, pattern=f"({LONG}"),
        lambda tok: Tokenizer.train(b"a b", 300, pattern=["a", LONG, "("]),
        lambda tok: Tokenizer.train(b"a b", 300, tie_break=LONG),
        lambda tok: Tokenizer.train(b"a b", 300, special_tokens=LONG),
        lambda tok: Tokenizer.train(b"a b", 300, special_tokens={LONG}),
        lambda tok: Tokenizer.train(b"a b", 300, max_memory=LONG),
        lambda tok: Tokenizer.train(b"a b", 300, weights=[LONG]),
        lambda tok: Tokenizer.train_from_counts([("a", LONG)], 300),
        lambda tok: CoreTokenizer.from_ranks([], LONG, []),
        lambda tok: WordCounter(None, [], 1).learn(5, LONG, 1, None, [], None),
        lambda tok: Tokenizer.get(LONG),
        lambda tok: Tokenizer.from_bytes(f'{{"model": {{"type": "{LONG}"}}}}'),
        lambda tok: tok.with_special_tokens(LONG),
        lambda tok: tok.with_special_tokens([LONG, LONG]),
        lambda tok: tok.with_special_tokens({LONG: -1}),
        lambda tok: tok.with_special_tokens({LONG: 5}),
        lambda tok: tok.decode([LONG]),
        lambda tok: tok.encode("a", allowed_special=LONG),
        lambda tok: tok.encode(LONG, disallowed_special={LONG}),
        lambda tok: tok.encode_with_dropout("a", 0.1, seed=LONG),
        lambda tok: tok.shrink(LONG),
        lambda tok: get_encoding(LONG),
        lambda tok: encoding_name_for_model(LONG),
    ],
)
def test_messages_stay_short(call: Callable[[Tokenizer], object], tok: Tokenizer) -> None:
    with pytest.raises((errors.GptBpeError, KeyError)) as caught:
        call(tok)
    assert len(str(caught.value)) < 1500


def test_messages_are_one_line_in_lower_case() -> None:
    tok = Tokenizer.train(b"low low", vocab_size=258)
    calls = [
        lambda: tok.decode([300]),
        lambda: tok.encode("\ud800"),
        lambda: tok.encode(5),
        lambda: Tokenizer.get("x"),
        lambda: Tokenizer.train(b"", 5),
        lambda: Tokenizer.train(b"", 300, pattern="("),
        lambda: Tokenizer.from_bytes(b"{"),
        lambda: tok.shrink(5),
    ]
    for call in calls:
        with pytest.raises(errors.GptBpeError) as caught:
            call()
        message = str(caught.value)
        assert message[0].islower() or not message[0].isalpha(), message
        assert len(message) < 400
