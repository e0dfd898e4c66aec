"""What holds for every command: mistakes are one line, help has an example, no traceback reaches anybody."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import HANGS, TEXT, call, environment

from gptbpe import Tokenizer
from gptbpe.cli import commands as cli

WRONG: list[tuple[Sequence[str], str]] = [
    (["tran", "x"], 'Did you mean "train"'),
    (["train", "input.txt", "--vocba", "300"], "Did you mean --vocab"),
    (["train", "input.txt", "--vocab", "many"], "--vocab"),
    (["train", "input.txt", "--vocab", "10"], "at least 257"),
    (["train", "input.txt", "--tie-break", "coin"], "smallest-ids"),
    (["train", "input.txt", "--pattern", "gtp2"], "gpt2"),
    (["train", "input.txt", "--pattern", "("], "pattern"),
    (["train", "missing.txt"], "missing.txt: no such file"),
    (["train", "."], "is a directory"),
    (["train", "empty.txt"], "empty"),
    (["train"], "name a text file"),
    (["train", "input.txt", "-o", "no/such/folder.json"], "no/such: there is no such folder"),
    (["train", "input.txt", "-o", "."], "directory"),
    (["train", "input.txt", "--threads", "0"], "threads"),
    (["train", "input.txt", "--json", "-o", "-"], "standard output"),
    (["train", "input.txt", "--vocab", "2097152"], "at most 2,097,151 ids"),
    (["train", "input.txt", "--report", "x.pdf"], ".svg, .png, .md or .json"),
    (["train", "input.txt", "--report", "-"], "--report"),
    (["train", "input.txt", "--report", "no/x.svg"], "no such folder"),
    (["train", "input.txt", "-o", "x.json", "--report", "./x.json"], "--report and -o both name"),
    (["train", "input.txt", "--extend", "tokenizer.json"], "--vocab N, above the 280 ids"),
    (["train", "input.txt", "--extend", "missing.json", "--vocab", "300"], "missing.json"),
    (["train", "input.txt", "--extend", "gpt2", "--vocab", "60000"], "ids of its own"),
    (["train", "input.txt", "--extend", "tokenizer.json", "--vocab", "270", "-o", "x.json"], "call shrink"),
    (
        ["train", "input.txt", "--extend", "tokenizer.json", "--vocab", "300", "--pattern", "gpt2"],
        "--pattern gpt2 contradicts --extend tokenizer.json, whose pattern is cl100k",
    ),
    (
        ["train", "input.txt", "--extend", "tokenizer.json", "--vocab", "300", "--special-token", "<a>"],
        "--special-token <a> contradicts --extend tokenizer.json, whose special tokens are <|endoftext|>",
    ),
    (["train", "input.txt", "--extend", "tokenizer.json", "--characters"], "--characters"),
    (["shrink"], "--vocab N"),
    (["shrink", "tokenizer.json", "--vocab", "270"], "-o FILE"),
    (["shrink", "tokenizer.json", "--vocab", "300", "-o", "x.json"], "expected 257 to 280"),
    (["shrink", "tokenizer.json", "--vocab", "270", "-o", "-", "--json"], "standard output"),
    (["shrink", "missing.json", "--vocab", "270", "-o", "x.json"], "missing.json"),
    (["encode", "input.txt", "-t", "missing.json"], "missing.json"),
    (["encode", "input.txt", "-t", "cl100kbase"], "did you mean 'cl100k_base'"),
    (["encode", "missing.txt"], "missing.txt: no such file"),
    (["encode", "."], "is a directory"),
    (["encode", "input.txt", "-t", "input.txt"], "gptbpe import"),
    (["encode", "input.txt", "-t", "cut.json"], "cut.json"),
    (["decode", "--ids", "1 2 x"], "--ids: 'x' is not an id"),
    (["decode", "--ids", "1 1000000"], "1000000"),
    (["decode", "--ids", "-1"], "-1"),
    (["compare", "empty.txt", "-t", "gpt2", "-t", "gpt2"], "no text"),
    (["export", "-t", "gpt2"], "-o"),
    (["export", "-t", "gpt2", "--format", "zip", "-o", "x"], "tiktoken"),
    (["import", "missing.json"], "missing.json"),
    (["import", "a", "b", "c"], "3 inputs"),
    (["count", "--no-such"], "--no-such"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_what_goes_wrong_is_one_line(
    here: Path, capfdbinary: pytest.CaptureFixture[bytes], words: Sequence[str], message: str
) -> None:
    (here / "empty.txt").touch()
    data = (here / "tokenizer.json").read_bytes()
    (here / "cut.json").write_bytes(data[: len(data) // 2])
    code, out, err = call(capfdbinary, *words)
    assert (code, out) == (2, b"")
    assert err.startswith("gptbpe: error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("command", [None, *map(cli.name, cli.EXAMPLES)])
def test_every_help_has_an_example(command: str | None, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, out, _ = call(capfdbinary, *([] if command is None else [command]), "--help")
    text = " ".join(out.decode().split())
    assert code == 0
    assert f"gptbpe {command or 'demo'}" in text
    assert "Example" in text or "First steps" in text


def test_no_command_shows_the_help(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, out, _ = call(capfdbinary)
    assert code == 0
    assert b"train" in out


def test_version(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from gptbpe._core import __version__

    assert call(capfdbinary, "--version")[1].decode().strip() == __version__


def test_shell_completion_is_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gptbpe", "--install-completion", "--shell", "bash"],
        env=environment() | {"HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    script = next(path for path in tmp_path.rglob("gptbpe") if path.is_file())
    assert "tie-break" in script.read_text()


def test_an_unknown_error_is_one_line(
    here: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gptbpe.cli import console

    def fail(name: str | None) -> Tokenizer:
        raise KeyError("odd")

    monkeypatch.setattr(console, "tokenizer", fail)
    code, _, err = call(capfdbinary, "count", "input.txt")
    assert (code, err.count("\n")) == (2, 1)
    assert "a bug in gptbpe" in err


def test_a_closed_pipe_is_no_error(here: Path) -> None:
    (here / "large.txt").write_text(TEXT * 2000)
    command = f"'{sys.executable}' -m gptbpe encode large.txt | head -c 10"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, env=environment(), check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) == 10


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "words",
    [["encode", "--text", "low"], ["count", "input.txt"], ["train", "input.txt", "-o", "-"], ["--help"]],
)
def test_a_full_disk_is_one_line(here: Path, words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gptbpe", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert done.returncode == 2
    assert b"no space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_ctrl_c_ends_with_130(here: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "gptbpe", "count", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert child.stdin is not None
    child.stdin.write(
        b"low lower lowest\n" * 100_000
    )  # more than a pipe holds: it ends when the work has begun
    child.stdin.flush()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=HANGS)
    assert child.returncode == 130
    assert err.decode().strip() == "gptbpe: interrupted"


def test_it_starts_without_the_model_packages() -> None:
    code = "import sys, gptbpe, gptbpe.cli; gptbpe.cli.main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
