"""The files of nanoGPT: what its train.py maps is the ids, from the first byte on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gptbpe import Tokenizer, nanogpt, shard_files
from gptbpe.cli import main
from gptbpe.errors import ShardError

TEXT = "<|endoftext|>".join(["low lower", "the news", "Hello, world! 123"] * 40)


def mapped(path: Path) -> list[int]:
    """Read a file as nanoGPT's ``get_batch`` does."""
    return np.memmap(path, dtype=np.uint16, mode="r").tolist()


@pytest.mark.parametrize("shard_tokens", [100, 10_000])
def test_both_files_together_are_the_ids(tok: Tokenizer, tmp_path: Path, shard_tokens: int) -> None:
    (tmp_path / "input.txt").write_text(TEXT)
    reader = shard_files(tmp_path / "input.txt", tok, tmp_path / "data", shard_tokens=shard_tokens)
    train, held_out = nanogpt.write(reader, tmp_path)
    both = mapped(tmp_path / "train.bin") + mapped(tmp_path / "val.bin")
    assert both == tok.encode(TEXT + "<|endoftext|>", allowed_special="all")
    assert (train, held_out) == (len(both) - len(both) // 10, len(both) // 10)
    assert len(mapped(tmp_path / "val.bin")) == held_out


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("input.txt").write_text(TEXT)
    assert main(["shard", "input.txt", "-t", "gpt2", "-o", "out", "--format", "nanogpt"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {"train.bin", "val.bin"}
    ids = Tokenizer.get("gpt2").encode(TEXT + "<|endoftext|>", allowed_special="all")
    assert mapped(Path("out/train.bin")) + mapped(Path("out/val.bin")) == ids
    assert "train.bin and val.bin in out" in capsys.readouterr().err
    assert main(["shard", "input.txt", "-t", "gpt2", "-o", "out", "--format", "nanogpt", "--json"]) == 0
    assert '"val_tokens": ' in capsys.readouterr().out
    assert main(["shard", "input.txt", "-t", "cl100k_base", "-o", "big", "--format", "nanogpt"]) == 2
    assert "16 bits" in capsys.readouterr().err
    assert not Path("big").exists()


def test_ids_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("low")
    reader = shard_files(tmp_path / "input.txt", Tokenizer.get("cl100k_base"), tmp_path / "data")
    with pytest.raises(ShardError, match="16 bits"):
        nanogpt.write(reader, tmp_path)
    assert not (tmp_path / "train.bin").exists()
