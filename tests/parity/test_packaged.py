"""The packaged encodings are OpenAI's: every token, every special token, made anew byte for byte."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from gptbpe import Tokenizer, packaged

SCRIPT = Path(__file__).with_name("package_encodings.py")


def sources() -> dict[str, tuple[str, str, dict[str, int]]]:
    spec = importlib.util.spec_from_file_location("package_encodings", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SOURCES


@pytest.mark.parametrize("name", list(sources()))
def test_every_token_is_the_published_one(name: str, shared_file: Callable[[str], Path]) -> None:
    published, pattern, special_tokens = sources()[name]
    data = shared_file(f"vocabs/{name}.tiktoken").read_bytes()
    assert sha256(data).hexdigest() == published
    rows = [line.split() for line in data.splitlines()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in rows}
    tok = Tokenizer.get(name)
    assert tok.ranks() == ranks
    assert tok.special_tokens == special_tokens
    assert tok.pattern == pattern
    again = Tokenizer.from_ranks(ranks, pattern=pattern, special_tokens=special_tokens)
    assert again.fingerprint == tok.fingerprint
    assert sha256(again._core.write_compact()).hexdigest() == packaged.ENCODINGS[name].sha256
