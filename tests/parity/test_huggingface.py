"""Exactly the ids of Hugging Face's tokenizers, for files of theirs and for files that we write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import Tokenizer

tokenizers = pytest.importorskip("tokenizers")

PATTERNS = [
    "gpt2",
    "cl100k",
    "o200k",
    "llama3",
    "qwen2",
    "nanochat",
    "deepseek",
    r"\p{L}+|\p{N}{2}|[^\p{L}\p{N}]",
]
TEXT = "It was the best of times, it was the worst of times. 1859, 你好世界! déjà vu\n\n  x = 10\n" * 30


def theirs_of(tok: Tokenizer) -> Any:
    return tokenizers.Tokenizer.from_str(tok.to_bytes().decode())


def ids_of(theirs: Any, text: str) -> list[int]:
    ids = theirs.encode(text, add_special_tokens=False).ids
    assert isinstance(ids, list)
    return ids


@pytest.mark.parametrize("file", ["gpt2_tokenizer.json", "deepseek_tokenizer.json"])
def test_their_files(
    file: str, shared_file: Callable[[str], Path], texts: Callable[[int], list[tuple[str, str]]]
) -> None:
    path = shared_file(f"vocabs/{file}")
    theirs = tokenizers.Tokenizer.from_file(str(path))
    ours = Tokenizer.load(path)
    again = theirs_of(ours)
    for name, text in texts(40_000):
        ids = ours.encode(text, allowed_special="all")
        assert ids_of(theirs, text) == ids, name
        assert ids_of(again, text[:5000]) == ours.encode(text[:5000], allowed_special="all"), name
    assert Tokenizer.from_bytes(ours.to_bytes()).fingerprint == ours.fingerprint


def test_gpt2_is_one_tokenizer_in_all_its_files(shared_file: Callable[[str], Path]) -> None:
    ours = Tokenizer.load(shared_file("vocabs/gpt2_tokenizer.json"))
    special = {"<|endoftext|>": 50256}
    ranks = Tokenizer.from_tiktoken(
        shared_file("vocabs/r50k_base.tiktoken"), pattern="gpt2", special_tokens=special
    )
    files = Tokenizer.from_gpt2(shared_file("vocabs/gpt2_encoder.json"), shared_file("vocabs/gpt2_vocab.bpe"))
    assert {ours.fingerprint, ranks.fingerprint, files.fingerprint} == {Tokenizer.get("gpt2").fingerprint}


@pytest.mark.parametrize("file", ["cl100k_base.tiktoken", "llama3_tokenizer.model"])
def test_ranks_written_for_them(
    file: str, shared_file: Callable[[str], Path], texts: Callable[[int], list[tuple[str, str]]]
) -> None:
    """Llama 3's ranks are no merge list: every split of every token has to be one."""
    pattern = "cl100k" if file.startswith("cl") else "llama3"
    ours = Tokenizer.from_tiktoken(
        shared_file(f"vocabs/{file}"), pattern=pattern, special_tokens={"<|endoftext|>": 200_000}
    )
    theirs = theirs_of(ours)
    for name, text in texts(15_000):
        assert ids_of(theirs, text) == ours.encode(text, allowed_special="all"), name
    assert Tokenizer.from_bytes(ours.to_bytes()).fingerprint == ours.fingerprint


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_we_train(pattern: str, mixed: Callable[[int, int], str]) -> None:
    ours = Tokenizer.train((TEXT + mixed(4000, 7)).encode(), vocab_size=400, pattern=pattern)
    theirs = theirs_of(ours)
    text = mixed(3000, 8) + " \n  "
    ids = ours.encode(text, allowed_special="all")
    assert ids_of(theirs, text) == ids
    assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids) == text
    again = Tokenizer.from_bytes(ours.to_bytes())
    assert (again.fingerprint, again.pattern) == (ours.fingerprint, ours.pattern)


@given(text=st.text(st.sampled_from("héllo wörld の")))
def test_characters(text: str) -> None:
    ours = Tokenizer.characters("héllo wörld の".encode(), special_tokens=["<e>"])
    theirs = theirs_of(ours)
    assert ids_of(theirs, text + "<e>") == ours.encode(text + "<e>", allowed_special="all")
    assert theirs.decode(ours.encode(text)) == text


def test_transformers_reads_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours = Tokenizer.train(TEXT.encode(), vocab_size=300)
    ours.save(tmp_path / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    text = "It was the <|endoftext|> worst\n\n of 1859 \n"
    ids = ours.encode(text, allowed_special="all")
    assert theirs.encode(text) == ids
    assert theirs.decode(ids) == text
    assert len(theirs) == ours.vocab_size


# Of a few letters, so that they overlap and begin one another.
ADDED = ["ab", "abc", "bc", "c d", "d"]


@given(text=st.text("abcd ", max_size=40), marks=st.lists(st.booleans(), min_size=5, max_size=5))
def test_added_tokens_that_overlap(text: str, marks: list[bool]) -> None:
    """The longest of those that start first; `normalized` ones in what the others leave."""
    file = json.loads(Tokenizer.train(b"", vocab_size=256, special_tokens=[]).to_bytes())
    del file["model"]["fingerprint"]  # the edits below are meant
    for id, (content, normalized) in enumerate(zip(ADDED, marks, strict=True), 256):
        flags = dict.fromkeys(["single_word", "lstrip", "rstrip"], False)
        flags |= {"normalized": normalized, "special": True}
        file["added_tokens"].append({"id": id, "content": content, **flags})
        file["model"]["vocab"][content] = id
    # A byte stays a byte, whatever else is called so.
    file["added_tokens"][-1]["id"] = file["model"]["vocab"]["d"] = ord("d")
    theirs = tokenizers.Tokenizer.from_str(json.dumps(file))
    ours = Tokenizer.from_bytes(json.dumps(file))
    assert ids_of(theirs, text) == ours.encode(text, allowed_special="all")
