"""No command replaces a file that it reads, and what is hardly text is noticed."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from gptbpe import Tokenizer, shard_files, sources
from gptbpe.cli import main

TEXT = "to be, or not to be: that is the question\n" * 20


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a text under three names, a tokenizer, and counts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(TEXT)
    (tmp_path / "hard.txt").hardlink_to("input.txt")
    (tmp_path / "soft.txt").symlink_to("input.txt")
    (tmp_path / "folder").mkdir()
    Tokenizer.train(TEXT.encode(), vocab_size=280).save("tokenizer.json")
    Tokenizer.load("tokenizer.json").save("folder/tokenizer.json")
    assert main(["count-pretokens", "input.txt", "-o", "words.pcnt"]) == 0
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


COMMANDS = [
    "train input.txt -o input.txt",
    "train input.txt -o hard.txt",
    "train input.txt -o soft.txt",
    "train input.txt -o ./folder/../input.txt",
    "train --counts words.pcnt -o words.pcnt",
    "train input.txt --extend tokenizer.json --vocab 300 -o tokenizer.json",
    "train input.txt --extend folder --vocab 300 -o folder/tokenizer.json",
    "train soft.txt --report soft.txt",
    "count-pretokens input.txt -o hard.txt",
    "encode input.txt -o input.txt",
    "encode input.txt -o soft.txt",
    "encode input.txt -o tokenizer.json",
    "encode input.txt -t folder -o folder/tokenizer.json",
    "decode input.txt -o hard.txt",
    "shrink --vocab 270 -o tokenizer.json",
    "export -o tokenizer.json",
    "export --format tiktoken -o tokenizer.json",
    "import tokenizer.json",
    "import folder/tokenizer.json -o folder/tokenizer.json --force",
    "import gpt2",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_is_no_input(here: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(here)
    capsys.readouterr()
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gptbpe: error: ")
    assert err.count("\n") == 1
    assert contents(here) == before


@pytest.mark.parametrize("words", [["encode"], ["encode", "-"], ["decode"], ["train", "-"]])
def test_a_redirected_input_is_no_output(here: Path, words: list[str]) -> None:
    with Path("input.txt").open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "gptbpe", *words, "-o", "hard.txt"],
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "would be replaced" in done.stderr
    assert Path("input.txt").read_text() == TEXT


def test_import_replaces_with_force_only(here: Path) -> None:
    assert main(["import", "gpt2", "--force"]) == 0
    assert Tokenizer.load("tokenizer.json").fingerprint == Tokenizer.get("gpt2").fingerprint


def test_another_output_is_written(here: Path) -> None:
    assert main(["encode", "input.txt", "-o", "ids.txt"]) == 0
    assert main(["decode", "ids.txt", "-o", "again.txt"]) == 0
    assert Path("again.txt").read_text() == TEXT


LOOKS = {
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16LE": TEXT.encode("utf-16-le"),
    "UTF-16BE": TEXT.encode("utf-16-be"),
    "UTF-32": TEXT.encode("utf-32"),
    "gzip": gzip.compress(TEXT.encode()),
    "program": b"\x7fELF\2\1\1" + bytes(100),
    "zero bytes": b"row\0row\0\0\1",
}


@pytest.mark.parametrize("kind", LOOKS)
@pytest.mark.parametrize(
    "command", ["train FILE -o made.json", "count FILE", "count -", "shard FILE -o data"]
)
def test_what_is_hardly_text_is_noticed(
    here: Path, kind: str, command: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = here / "notes.txt"
    file.write_bytes(LOOKS[kind])
    with file.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(command.replace("FILE", "notes.txt").split()) == 0
    (warning,) = [line for line in capfd.readouterr().err.splitlines() if "looks like" in line]
    assert warning.startswith(f"warning: {'standard input' if command == 'count -' else 'notes.txt'} ")
    assert kind in warning


def test_a_parquet_file_is_not_asked_for_the_name_that_it_has(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "notes.parquet").write_bytes(b"PAR1 and what follows")
    assert main(["count", "notes.parquet"]) == 0
    shown = capfd.readouterr().err
    assert "a Parquet file, and its bytes are read as they are here; unpack it first" in shown


def test_text_is_not_noticed(here: Path, recwarn: pytest.WarningsRecorder) -> None:
    Path("text.txt").write_text("naïve 中文 ไทย\n", encoding="utf-8")
    Path("marked.txt").write_text(TEXT, encoding="utf-8-sig")
    for name in ("text.txt", "marked.txt"):
        assert list(sources.documents(name)) == [Path(name).read_bytes()]
    assert not recwarn.list


def test_an_empty_file_makes_no_shards(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.txt").touch()
    capsys.readouterr()
    assert main(["shard", "empty.txt", "-o", "data"]) == 2
    assert "empty.txt is empty" in capsys.readouterr().err
    assert not Path("data").exists()
    tok = Tokenizer.load("tokenizer.json")
    assert shard_files(["input.txt", "empty.txt"], tok, "data").total_tokens > 0
