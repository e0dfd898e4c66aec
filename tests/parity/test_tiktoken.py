"""Exactly tiktoken's ids, for the same ranks, pattern and special tokens."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import Tokenizer

tiktoken = pytest.importorskip("tiktoken")
public = pytest.importorskip("tiktoken_ext.openai_public")

END = "<|endoftext|>"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def published(name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the split pattern inside tiktoken itself, without its download of ranks."""
    monkeypatch.setattr(public, "load_tiktoken_bpe", lambda *_, **__: {})
    pattern = getattr(public, name)()["pat_str"]
    assert isinstance(pattern, str)
    return pattern


def ranks_of(path: Path) -> dict[bytes, int]:
    rows = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in rows}


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("r50k_base.tiktoken", "gpt2"),
        ("p50k_base.tiktoken", "gpt2"),
        ("cl100k_base.tiktoken", "cl100k"),
        ("o200k_base.tiktoken", "o200k"),
        ("llama3_tokenizer.model", "llama3"),
        ("qwen.tiktoken", "qwen2"),
    ],
)
def test_real_vocabularies_on_real_text(
    file: str,
    pattern: str,
    shared_file: Callable[[str], Path],
    texts: Callable[[int], list[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = shared_file(f"vocabs/{file}")
    regex = {"llama3": LLAMA3, "qwen2": LLAMA3.replace("{1,3}", "")}.get(pattern)
    if regex is None:
        regex = published(file.removesuffix(".tiktoken"), monkeypatch)
    special = {END: 2_000_000}
    theirs = tiktoken.Encoding("x", pat_str=regex, mergeable_ranks=ranks_of(path), special_tokens=special)
    ours = Tokenizer.from_tiktoken(path, pattern=pattern, special_tokens=special)
    named = [(name, text) for name, text in texts(150_000)]
    batch = ours.encode_batch([text for _, text in named], allowed_special="all", threads=2)
    for (name, text), ids in zip(named, batch, strict=True):
        assert theirs.encode(text, allowed_special="all") == ids, name
        assert ours.decode(ids) == text, name


@pytest.mark.parametrize("file", ["r50k_base.tiktoken", "cl100k_base.tiktoken"])
def test_rank_files_are_written_as_they_were(
    file: str, shared_file: Callable[[str], Path], tmp_path: Path
) -> None:
    path = shared_file(f"vocabs/{file}")
    Tokenizer.from_tiktoken(path, pattern="gpt2").save_tiktoken(tmp_path / file)
    assert (tmp_path / file).read_bytes() == path.read_bytes()


letters = st.text("aab b.\n", max_size=200)


def rank_table(tokens: list[bytes]) -> dict[bytes, int]:
    distinct = dict.fromkeys([bytes([b]) for b in range(256)] + [t for t in tokens if len(t) > 1])
    return {token: rank for rank, token in enumerate(distinct)}


@given(
    tokens=st.lists(st.text("ab .", min_size=2, max_size=6).map(str.encode), max_size=60),
    text=letters,
)
def test_any_order_of_any_tokens(tokens: list[bytes], text: str) -> None:
    """Ranks that no training would make: parts after the whole, tokens that nothing reaches."""
    ranks = rank_table(tokens)
    theirs = tiktoken.Encoding("x", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={})
    ours = Tokenizer.from_ranks(ranks, pattern=r"\S+|\s+", special_tokens={})
    assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)


# None begins another one: there tiktoken's choice hangs on the order of a hash table.
SPECIAL = {"<a>": 300, "b<a": 301, ">a.": 302, "b b": 303}


@given(text=st.text("<a>b .", max_size=60), allowed=st.sets(st.sampled_from(sorted(SPECIAL))))
def test_special_tokens(text: str, allowed: set[str]) -> None:
    arguments: dict[str, Any] = {"allowed_special": allowed, "disallowed_special": ()}
    ranks = rank_table([b"ab", b" b", b"<a", b"<a>"])
    theirs = tiktoken.Encoding("x", pat_str=LLAMA3, mergeable_ranks=ranks, special_tokens=SPECIAL)
    ours = Tokenizer.from_ranks(ranks, pattern="llama3", special_tokens=SPECIAL)
    assert ours.encode(text, **arguments) == theirs.encode(text, **arguments)
