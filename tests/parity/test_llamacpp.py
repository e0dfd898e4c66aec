"""The ids of llama.cpp's own test vectors: 46 texts for three vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gptbpe import Tokenizer

SEPARATOR = "\n__ggml_vocab_test__\n"


@pytest.mark.parametrize(
    ("name", "file", "pattern"),
    [
        ("gpt-2", "gpt2_tokenizer.json", None),
        ("llama-bpe", "llama3_tokenizer.model", "llama3"),
        ("qwen2", "qwen.tiktoken", "qwen2"),
    ],
)
def test_vectors(name: str, file: str, pattern: str | None, shared_file: Callable[[str], Path]) -> None:
    path = shared_file(f"vocabs/{file}")
    tok = Tokenizer.load(path) if pattern is None else Tokenizer.from_tiktoken(path, pattern=pattern)
    given, expected = (shared_file(f"vocabs/llamacpp_vectors/{name}.{suffix}") for suffix in ("inp", "out"))
    # Every text is followed by the separator, every line of ids by the end of the line.
    texts = given.read_bytes().decode().split(SEPARATOR)[:-1]
    lines = expected.read_text().splitlines()
    assert len(texts) == len(lines) == 46
    for text, line in zip(texts, lines, strict=True):
        assert tok.encode_ordinary(text) == [int(id) for id in line.split()], repr(text)
