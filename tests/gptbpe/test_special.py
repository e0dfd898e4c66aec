"""Special tokens: tiktoken's rules for what is allowed and what is refused."""

from __future__ import annotations

import json

import pytest

from gptbpe import Tokenizer
from gptbpe.errors import GptBpeError, SpecialTokenError

END = "<|endoftext|>"
PAD = "<|pad|>"


def test_text_never_becomes_special_by_accident(tok: Tokenizer) -> None:
    with pytest.raises(SpecialTokenError, match=r"<\|endoftext\|>"):
        tok.encode(f"a{END}b")
    specials = set(tok.special_tokens.values())
    assert not specials & set(tok.encode(f"a{END}b", disallowed_special=()))
    assert not specials & set(tok.encode_ordinary(f"a{END}b"))


def test_allowed_are_ids_and_the_rest_is_refused(tok: Tokenizer) -> None:
    end, pad = tok.special_tokens[END], tok.special_tokens[PAD]
    assert tok.encode(f"a{END}{PAD}", allowed_special="all") == [97, end, pad]
    assert tok.encode(f"a{END}", allowed_special={END}) == [97, end]
    with pytest.raises(SpecialTokenError, match=r"<\|pad\|>"):
        tok.encode(f"a{END}{PAD}", allowed_special={END})
    mixed = tok.encode(f"{END}{PAD}", allowed_special={END}, disallowed_special=())
    assert mixed[0] == end
    assert pad not in mixed
    assert tok.decode(mixed) == END + PAD


def test_disallowed_may_name_any_string(tok: Tokenizer) -> None:
    assert tok.encode("plain", disallowed_special={"secret"}) == tok.encode("plain")
    with pytest.raises(SpecialTokenError, match="secret"):
        tok.encode("a secret", disallowed_special=["secret"])
    with pytest.raises(SpecialTokenError):
        tok.encode(END, allowed_special="all", disallowed_special=[END])


def test_the_first_disallowed_one_is_named(tok: Tokenizer) -> None:
    with pytest.raises(SpecialTokenError, match=r"<\|pad\|>"):
        tok.encode(f"a{PAD}{END}")


@pytest.mark.parametrize("method", ["encode", "encode_to_numpy", "count", "encode_with_offsets"])
def test_every_method_has_the_rule(tok: Tokenizer, method: str) -> None:
    call = getattr(tok, method)
    with pytest.raises(SpecialTokenError) as caught:
        call(f"a{END}")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, GptBpeError)
    call(f"a{END}", allowed_special="all")
    call(f"a{END}".encode(), disallowed_special=())
    with pytest.raises(SpecialTokenError):
        call(f"a{END}".encode())


@pytest.mark.parametrize("method", ["encode_batch", "encode_ragged"])
def test_batches_name_the_text(tok: Tokenizer, method: str) -> None:
    with pytest.raises(SpecialTokenError, match=r"texts\[1\]"):
        getattr(tok, method)(["fine", f"a{END}"])


def test_a_string_is_no_set(tok: Tokenizer) -> None:
    with pytest.raises(ValueError, match='must be "all" or a set of strings'):
        tok.encode("a", allowed_special=END)
    with pytest.raises(ValueError, match="disallowed_special"):
        tok.encode("a", disallowed_special="none")


def test_longer_special_tokens_win() -> None:
    tok = Tokenizer.train(b"ab ab ab", vocab_size=259, special_tokens=["<a>", "<a><b>"])
    short, long = tok.special_tokens["<a>"], tok.special_tokens["<a><b>"]
    assert tok.encode("<a><b>", allowed_special={"<a><b>"}, disallowed_special=()) == [long]
    assert tok.encode("<a>", allowed_special="all") == [short]


def test_special_tokens_come_last_in_order() -> None:
    tok = Tokenizer.train(b"low low", vocab_size=260, special_tokens=["<z>", "<a>"])
    assert list(tok.special_tokens.items()) == [("<z>", 258), ("<a>", 259)]
    none = Tokenizer.train(b"low low", vocab_size=258, special_tokens=[])
    assert none.special_tokens == {}
    assert none.encode(END) == none.encode_ordinary(END)


@pytest.mark.parametrize("names", [["<a>", "<a>"], [""], "<a>"])
def test_impossible_special_tokens(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"special"):
        Tokenizer.train(b"low low", vocab_size=260, special_tokens=names)


def test_a_hundred_thousand_in_a_row(tok: Tokenizer) -> None:
    assert tok.encode(END * 100_000, allowed_special="all") == [tok.special_tokens[END]] * 100_000


def test_many_special_tokens_cost_no_more_than_they_must() -> None:
    """Sizes at which a search through all tokens, for each token or each id, would take minutes."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    special_tokens = {f"<|{number}|>": 256 + 20 * number for number in range(100_000)}
    tok = Tokenizer.from_ranks(ranks, pattern="gpt2", special_tokens=special_tokens)
    assert tok.ranks() == ranks
    assert tok.encode("<|7|>", allowed_special=special_tokens.keys()) == [396]
    for _ in range(1000):
        assert tok.encode("hello", allowed_special={"<|7|>"}) == list(b"hello")
    again = Tokenizer.from_bytes(tok.to_bytes())
    assert again.special_tokens == special_tokens


def test_two_kinds_of_special_tokens_are_found_in_linear_time() -> None:
    """Many normalised tokens before a plain one, which must not be searched for anew each time."""
    tok = Tokenizer.train(b"low low", vocab_size=259, special_tokens=["<n>", "<p>"])
    definition = json.loads(tok.to_bytes())
    definition["model"].pop("fingerprint", None)
    for added in definition["added_tokens"]:
        added["normalized"] = added["content"] == "<n>"
    tok = Tokenizer.from_bytes(json.dumps(definition))
    first, second = tok.special_tokens["<n>"], tok.special_tokens["<p>"]
    text = "<n>" * 200_000 + "<p>"
    assert tok.encode(text, allowed_special="all") == [first] * 200_000 + [second]
