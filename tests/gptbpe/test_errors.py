"""The exception tree: what can be caught as what, and that a panic is an exception like others."""

from __future__ import annotations

import inspect
import pickle

import pytest

from gptbpe import Tokenizer, errors


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
