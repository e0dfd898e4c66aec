"""Streaming decode: the pieces are the whole, and no piece ends inside a character."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import Tokenizer
from gptbpe.errors import UnknownTokenError


@given(text=st.text())
def test_pieces_are_the_text(text: str, tok: Tokenizer) -> None:
    stream = tok.decode_stream()
    pieces = [stream.push(id) for id in tok.encode_ordinary(text)]
    assert "".join(pieces) == text
    assert stream.finish() == ""


@given(raw=st.binary())
def test_broken_bytes_are_replaced_as_in_one_go(raw: bytes, tok: Tokenizer) -> None:
    ids = tok.encode_ordinary(raw)
    stream = tok.decode_stream()
    pieces = [stream.push(id) for id in ids]
    pieces.append(stream.finish())
    assert "".join(pieces) == tok.decode(ids)
    other = tok.decode_stream()
    assert other.push_all(ids) + other.finish() == tok.decode(ids)


def test_text_waits_for_whole_characters(tok: Tokenizer) -> None:
    stream = tok.decode_stream()
    assert [stream.push(byte) for byte in "é".encode()] == ["", "é"]
    assert stream.push(0xF0) == ""
    assert stream.finish() == "\ufffd"
    assert stream.push(104) == "h"


def test_special_tokens_are_their_strings(tok: Tokenizer) -> None:
    assert tok.decode_stream().push(tok.special_tokens["<|pad|>"]) == "<|pad|>"


@pytest.mark.parametrize("wrong", [-1, 10**6, 2**32, 1.5, "a", None])
def test_bad_ids(tok: Tokenizer, wrong: object) -> None:
    stream = tok.decode_stream()
    stream.push(104)
    with pytest.raises(UnknownTokenError):
        stream.push(wrong)
    assert stream.push(105) == "i"


def test_numpy_ids(tok: Tokenizer) -> None:
    assert tok.decode_stream().push(np.uint16(104)) == "h"
    assert tok.decode_stream().push_all(np.array([104, 105], dtype=np.uint16)) == "hi"


def test_characters(chars: Tokenizer, text: str) -> None:
    stream = chars.decode_stream()
    assert "".join(stream.push(id) for id in chars.encode(text)) == text
