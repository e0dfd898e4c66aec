"""Toy tokenizers that the tests of this folder share, and the folder that commands are tried in."""

from __future__ import annotations

from pathlib import Path

import command_line
import pytest

from gptbpe import Tokenizer

TEXT = (
    "It was the best of times, it was the worst of times. Die Straße ist naß; 你好，世界! "
    "The 12 lowest lows were lower than the newest news. déjà vu 🙂🙂\n\n  def f(x):\n\treturn x  # ok\n"
) * 4


@pytest.fixture(scope="session")
def text() -> str:
    """Return a little text in several scripts."""
    return TEXT


@pytest.fixture(scope="session")
def tok() -> Tokenizer:
    """Return a small trained tokenizer with two special tokens."""
    return Tokenizer.train(TEXT.encode(), vocab_size=340, special_tokens=["<|endoftext|>", "<|pad|>"])


@pytest.fixture(scope="session")
def chars() -> Tokenizer:
    """Return a small character tokenizer."""
    return Tokenizer.characters(TEXT.encode())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with an input and a tokenizer, as the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(command_line.TEXT)
    Tokenizer.train(command_line.TEXT.encode(), vocab_size=280).save("tokenizer.json")
    return tmp_path
