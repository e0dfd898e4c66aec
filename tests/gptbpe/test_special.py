"""Special tokens: tiktoken's rules for what is allowed and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from gptbpe import AddedToken, Tokenizer, shard_files
from gptbpe.errors import GptBpeError, SpecialTokenError, TokenizerFileError, TrainingError

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


# ---- added tokens of Hugging Face's files --------------------------------------------------------


def with_added(tok: Tokenizer, *tokens: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer of the same file with more added tokens, which take the next ids."""
    definition = json.loads(tok.to_bytes())
    definition["model"].pop("fingerprint")
    definition["added_tokens"] += [
        {"id": tok.vocab_size + number, "special": False, **token} for number, token in enumerate(tokens)
    ]
    return Tokenizer.from_bytes(json.dumps(definition))


THINK = "<think>"


@pytest.fixture(scope="module")
def thinking(tok: Tokenizer) -> Tokenizer:
    """Return a tokenizer with a token that is always matched, and one that takes white space."""
    return with_added(tok, {"content": THINK}, {"content": "<end>", "lstrip": True, "rstrip": True})


def test_added_tokens_show_their_options(tok: Tokenizer, thinking: Tokenizer) -> None:
    id = thinking.vocab_size - 2
    assert thinking.special_tokens == tok.special_tokens
    assert [token.content for token in thinking.added_tokens] == [END, PAD, THINK, "<end>"]
    assert thinking.added_tokens[2] == AddedToken(THINK, id, special=False, normalized=True)
    assert thinking.added_tokens[3] == AddedToken("<end>", id + 1, False, True, lstrip=True, rstrip=True)
    with pytest.raises(FrozenInstanceError):
        thinking.added_tokens[0].id = 1  # type: ignore[misc]
    assert thinking != tok


def test_what_is_not_special_is_always_matched(thinking: Tokenizer, tmp_path: Path) -> None:
    think = thinking.token_id(THINK)
    text = f"low {THINK}low"
    ids = thinking.encode(text)
    assert think in ids
    assert ids == [*thinking.encode("low "), think, *thinking.encode("low")]
    ways: list[Callable[[str], Any]] = [
        thinking.encode_ordinary,
        lambda text: thinking.encode(text, allowed_special="all"),
        lambda text: thinking.encode(text, allowed_special={END}, disallowed_special=()),
        lambda text: thinking.encode(text, disallowed_special=()),
        lambda text: thinking.encode_to_numpy(text).tolist(),
        lambda text: thinking.encode_batch([text, text], threads=2)[1],
        lambda text: thinking.encode_ragged([text])[0].tolist(),
        lambda text: thinking.encode_with_offsets(text)[0],
        lambda text: thinking.encode_with_dropout(text, 0.0, seed=1),
    ]
    assert all(way(text) == ids for way in ways)
    assert thinking.encode_with_dropout(text, 1.0, seed=1).count(think or 0) == 1
    assert thinking.count(text) == thinking.count_until(text, 100) == len(ids)
    assert thinking.truncate(text, ids.index(think) + 1) == f"low {THINK}"
    assert b"".join(thinking.split(text)) == text.encode()
    assert THINK.encode() in thinking.split(text)
    path = tmp_path / "text.txt"
    path.write_text(text)
    assert [batch.tolist() for batch, _ in thinking.encode_files(path)] == [ids]
    reader = shard_files(path, thinking, tmp_path / "shards")
    assert reader.tokens(0).tolist() == [*ids, thinking.special_tokens[END]]


def test_what_is_always_matched_is_disallowed_only_by_name(thinking: Tokenizer) -> None:
    assert thinking.encode(THINK, disallowed_special="all") == [thinking.token_id(THINK)]
    assert thinking.encode(THINK, allowed_special={THINK}) == [thinking.token_id(THINK)]
    with pytest.raises(SpecialTokenError, match="<think>"):
        thinking.encode(THINK, disallowed_special={THINK})
    with pytest.raises(SpecialTokenError, match=r"<\|pad\|>"):
        thinking.encode(THINK + PAD)


def test_offsets_and_cuts_know_what_a_token_takes(thinking: Tokenizer) -> None:
    text = "low  <end>\n\tlow"
    ids, offsets = thinking.encode_with_offsets(text)
    at = ids.index(thinking.token_id("<end>"))
    assert (offsets[at], offsets[at + 1]) == (3, 12)
    assert thinking.truncate(text, at + 1) == "low  <end>\n\t"
    assert thinking.decode(ids) == "low<end>low"


def test_added_tokens_are_kept(thinking: Tokenizer) -> None:
    again = Tokenizer.from_bytes(thinking.to_bytes())
    assert again.to_bytes() == thinking.to_bytes()
    assert again == thinking
    assert again.added_tokens == thinking.added_tokens
    options = [(token.content, token.special, token.lstrip) for token in thinking.added_tokens]
    for other in (
        thinking.shrink(thinking.vocab_size - 1),
        thinking.extend(b"zq zq zq", thinking.vocab_size),
    ):
        assert [(token.content, token.special, token.lstrip) for token in other.added_tokens] == options


@pytest.mark.parametrize("names", [{"<s>": 0}, {"<s>", "</s>"}])
def test_training_numbers_special_tokens_itself(names: Any) -> None:
    with pytest.raises(TrainingError, match=r"special_tokens is a list of strings, .*found a"):
        Tokenizer.train(b"low low", vocab_size=260, special_tokens=names)
    with pytest.raises(TrainingError, match=r"special_tokens is a list of strings, .*found a"):
        Tokenizer.characters(b"low low", special_tokens=names)


def test_a_token_that_is_special_and_not_is_refused(tok: Tokenizer) -> None:
    with pytest.raises(TokenizerFileError, match="again as one that is not"):
        with_added(tok, {"content": END})


def test_one_long_added_token(tok: Tokenizer) -> None:
    """A matcher that compared each of its prefixes with the others would take minutes."""
    long = with_added(tok, {"content": "x" * 500_000})
    assert long.encode("x" * 500_000 + "low") == [tok.vocab_size, *tok.encode("low")]
    assert Tokenizer.from_bytes(long.to_bytes()) == long


def test_a_long_special_token_takes_no_long_time() -> None:
    long = "x" * 40_000
    began = time.process_time()
    tok = Tokenizer.train(f"low{long}lower".encode(), 259, special_tokens=[long])
    assert tok.encode(f"low{long}", allowed_special="all") == [257, 258]
    assert Tokenizer.from_bytes(tok.to_bytes()) == tok
    assert time.process_time() - began < 10  # 0.1 s; it was 80 s
