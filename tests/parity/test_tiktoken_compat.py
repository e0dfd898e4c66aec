"""``gptbpe.compat.tiktoken.Encoding`` against tiktoken itself, method by method, on one set of ranks."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptbpe import Tokenizer
from gptbpe.compat.tiktoken import Encoding, get_encoding

tiktoken = pytest.importorskip("tiktoken")

TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from(list("abehlortw '.!\n\t 019é中🙂<|>")), st.characters(exclude_categories=["Cs"])
    )
)
SPECIAL = {"<|endoftext|>": 50256}


@pytest.fixture(scope="module")
def ours() -> Encoding:
    return get_encoding("gpt2")


@pytest.fixture(scope="module")
def theirs(ours: Encoding) -> object:
    return tiktoken.Encoding(
        "gpt2", pat_str=ours._pat_str, mergeable_ranks=ours._mergeable_ranks, special_tokens=SPECIAL
    )


def test_the_surface_is_the_same(ours: Encoding, theirs: object) -> None:
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public <= set(dir(ours))
    assert ours.n_vocab == theirs.n_vocab
    assert ours.max_token_value == theirs.max_token_value
    assert ours.eot_token == theirs.eot_token
    assert ours.special_tokens_set == theirs.special_tokens_set
    assert ours.token_byte_values() == theirs.token_byte_values()
    assert [ours.is_special_token(id) for id in (0, 50256)] == [
        theirs.is_special_token(id) for id in (0, 50256)
    ]


@given(text=TEXTS)
def test_encoding_and_decoding(text: str, ours: Encoding, theirs: object) -> None:
    ids = theirs.encode_ordinary(text)
    assert ours.encode_ordinary(text) == ids
    assert ours.encode(text, disallowed_special=()) == ids
    assert ours.encode_batch([text, text], disallowed_special=()) == [ids, ids]
    assert np.array_equal(
        ours.encode_to_numpy(text, allowed_special="all"), theirs.encode_to_numpy(text, allowed_special="all")
    )
    assert ours.decode(ids) == text
    assert ours.decode_tokens_bytes(ids) == theirs.decode_tokens_bytes(ids)
    assert ours.decode_with_offsets(ids) == theirs.decode_with_offsets(ids)


@given(ids=st.lists(st.integers(0, 50256)))
def test_any_ids_decode_alike(ids: list[int], ours: Encoding, theirs: object) -> None:
    assert ours.decode(ids) == theirs.decode(ids)
    assert ours.decode_bytes(ids) == theirs.decode_bytes(ids)
    assert ours.decode_batch([ids, ids]) == theirs.decode_batch([ids, ids])


@given(text=st.text(alphabet="ab<|endoftext|> \ud83d\ude42\udfff"))
def test_special_tokens_and_surrogates(text: str, ours: Encoding, theirs: object) -> None:
    for options in (
        {},
        {"allowed_special": "all"},
        {"allowed_special": {"<|endoftext|>"}},
        {"disallowed_special": ()},
        {"disallowed_special": {"ab", "<|endoftext|>"}},
    ):
        try:
            expected = theirs.encode(text, **options)
        except ValueError:
            with pytest.raises(ValueError, match="disallowed special token"):
                ours.encode(text, **options)
        else:
            assert ours.encode(text, **options) == expected


@pytest.mark.parametrize(
    "token", ["hello", " world", b"\xff", "<|endoftext|>", "no such token", "", b"\xff\xfe\xfd"]
)
def test_single_tokens(token: str | bytes, ours: Encoding, theirs: object) -> None:
    try:
        expected = theirs.encode_single_token(token)
    except KeyError:
        with pytest.raises(KeyError):
            ours.encode_single_token(token)
    else:
        assert ours.encode_single_token(token) == expected


@pytest.mark.parametrize("id", [50257, 10**6])
def test_unknown_ids_are_key_errors(id: int, ours: Encoding, theirs: object) -> None:
    for encoding in (ours, theirs):
        with pytest.raises(KeyError):
            encoding.decode_bytes([id])
        with pytest.raises(KeyError):
            encoding.decode_single_token_bytes(id)


@settings(max_examples=40)
@given(data=st.data())
def test_unstable(data: st.DataObject, small: tuple[Encoding, object]) -> None:
    ours, theirs = small
    text = data.draw(st.text(alphabet="abeho '\n\t <|x>é", max_size=12))
    options = {"allowed_special": "all"}
    stable, completions = ours.encode_with_unstable(text, **options)
    expected, expected_completions = theirs.encode_with_unstable(text, **options)
    assert stable == expected
    assert sorted(completions) == sorted(expected_completions)


@pytest.fixture(scope="module")
def small() -> tuple[Encoding, object]:
    """Return a small vocabulary, on which every completion can be compared."""
    letters = random.Random(1)
    text = " ".join("".join(letters.choices("abeho'", k=4)) for _ in range(3000)) + "  \n \n\t" * 50
    tok = Tokenizer.train(text.encode(), 500, pattern="gpt2")
    arguments = {"pat_str": tok.regexes[0], "mergeable_ranks": tok.ranks(), "special_tokens": {"<|x|>": 600}}
    return Encoding("small", **arguments), tiktoken.Encoding("small", **arguments)
