"""``gptbpe train`` and ``shrink``: what they make, what they show meanwhile, and that Ctrl-C ends them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import HANGS, TEXT, call, environment, process

from gptbpe import Tokenizer
from gptbpe.cli import console


def test_train(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, out, err = call(capfdbinary, "train", "input.txt", "--vocab", "270", "-o", "new.json")
    assert (code, out) == (0, b"")
    assert "270 tokens" in err
    assert "gptbpe shard input.txt -t new.json" in err
    assert Tokenizer.load("new.json") == Tokenizer.train(TEXT.encode(), vocab_size=270)


def test_train_options(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    words = "train input.txt --vocab_size 270 --pattern gpt2 --tie_break bytes"
    code, out, _ = call(
        capfdbinary,
        *words.split(),
        "--special_token",
        "<a>",
        "--special-token",
        "<b>",
        "--threads",
        "2",
        "--json",
    )
    summary = json.loads(out)
    assert code == 0
    assert summary["special_tokens"] == {"<a>": 268, "<b>": 269}
    assert summary["pattern"] == "gpt2"
    expected = Tokenizer.train(
        TEXT.encode(), 270, pattern="gpt2", tie_break="bytes", special_tokens=["<a>", "<b>"]
    )
    assert Tokenizer.load("tokenizer.json") == expected
    assert summary["fingerprint"] == expected.fingerprint


def test_train_characters(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, _, err = call(capfdbinary, "train", "--characters", "input.txt")
    assert code == 0
    assert "characters" in err
    assert Tokenizer.load("tokenizer.json") == Tokenizer.characters(TEXT.encode())


def test_train_from_and_to_the_standard_streams(here: Path) -> None:
    done = process("train", "-", "--vocab", "270", "-o", "-", stdin=TEXT.encode())
    assert done.returncode == 0
    assert Tokenizer.from_bytes(done.stdout) == Tokenizer.train(TEXT.encode(), vocab_size=270)
    again = process("encode", "--text", "low", "-t", "-", stdin=done.stdout)
    assert again.returncode == 0
    assert again.stdout.split()


def test_train_extends(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    (here / "more.txt").write_text("entirely other words, otherwise worded\n" * 5)
    options = "--extend tokenizer.json --vocab 290 -o more.json --pattern cl100k"
    words = ["train", "more.txt", *options.split()]
    code, _, err = call(capfdbinary, *words)
    assert code == 0
    assert "290 tokens" in err
    base = Tokenizer.load("tokenizer.json")
    assert Tokenizer.load("more.json") == base.extend(Path("more.txt"), 290)
    assert call(capfdbinary, *words, "--max-token-bytes", "2")[0] == 0
    assert Tokenizer.load("more.json") == base.extend(Path("more.txt"), 290, max_token_bytes=2)
    assert Tokenizer.load("more.json") != base.extend(Path("more.txt"), 290)
    weighted = "train more.txt input.txt --extend tokenizer.json --vocab 290 -o more.json"
    weighted += " --weight 9 --weight 1 --separator == --max-memory 1M"
    assert call(capfdbinary, *weighted.split())[0] == 0
    expected = base.extend([Path("more.txt"), Path("input.txt")], 290, separator="==", weights=[9, 1])
    assert Tokenizer.load("more.json") == expected


def test_train_limits_tokens(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert call(capfdbinary, "train", "input.txt", "--vocab", "270", "--max-token-bytes", "2")[0] == 0
    tok = Tokenizer.load("tokenizer.json")
    assert tok == Tokenizer.train(TEXT.encode(), 270, max_token_bytes=2)
    assert max(len(tok.token_bytes(id)) for id in range(269)) == 2


def test_shrink(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    large = Tokenizer.load("tokenizer.json")
    code, out, err = call(capfdbinary, "shrink", "tokenizer.json", "--vocab", "260", "-o", "small.json")
    assert (code, out) == (0, b"")
    assert "260 of 280 tokens" in err
    assert Tokenizer.load("small.json") == large.shrink(260) == Tokenizer.train(TEXT.encode(), 260)
    code, out, _ = call(capfdbinary, "shrink", "--vocab", "265", "-o", "small.json", "--json")
    summary = json.loads(out)
    assert (summary["vocab_size"], summary["from_vocab_size"]) == (265, 280)
    assert summary["fingerprint"] == Tokenizer.load("small.json").fingerprint
    assert Tokenizer.from_bytes(call(capfdbinary, "shrink", "--vocab", "265", "-o", "-")[1]) == large.shrink(
        265
    )


@pytest.mark.parametrize("suffix", [".svg", ".md", ".json", ".png"])
def test_train_reports(here: Path, capfdbinary: pytest.CaptureFixture[bytes], suffix: str) -> None:
    if suffix == ".png":
        pytest.importorskip("matplotlib")
    code, out, err = call(
        capfdbinary, "train", "input.txt", "--vocab", "290", "--report", f"report{suffix}", "--json"
    )
    assert (code, err) == (0, "")
    tokens = Tokenizer.load("tokenizer.json").count(TEXT)
    assert json.loads(out)["bytes_per_token"] == round(len(TEXT) / tokens, 4)
    assert (here / f"report{suffix}").stat().st_size > 1000


def test_train_reports_on_standard_input(here: Path) -> None:
    done = process(
        "train", "-", "--vocab", "270", "-o", "new.json", "--report", "r.json", stdin=TEXT.encode(), cwd=here
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((here / "r.json").read_text())["total"]["bytes"] == len(TEXT)
    assert process("train", "-", "-o", "x.json", stdin=b"", cwd=here).stderr.startswith(
        b"gptbpe: error: - is empty"
    )
    assert not (here / "x.json").exists()


def test_train_reads_a_pipe(here: Path) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=[TEXT])
    writer.start()
    assert process("train", "pipe", "--vocab", "270", "-o", "new.json", cwd=here).returncode == 0
    writer.join()
    assert Tokenizer.load("new.json") == Tokenizer.train(TEXT.encode(), 270)


def test_early_stop_is_a_warning(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, _, err = call(capfdbinary, "train", "input.txt", "--vocab", "2000000")
    assert code == 0
    assert "warning: training stopped at" in err


def test_a_failed_training_keeps_the_old_file(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    before = (here / "tokenizer.json").read_bytes()
    assert call(capfdbinary, "train", "missing.txt")[0] == 2
    assert (here / "tokenizer.json").read_bytes() == before


SHOWS_ALL = (
    "import sys; from gptbpe.cli import console, main; console.Progress.SECONDS_BETWEEN_LINES = 0; "
    "sys.exit(main(sys.argv[1:]))"
)


@pytest.mark.parametrize("phase", ["counting", "merging", "measuring"])
def test_ctrl_c_ends_training_with_130(here: Path, phase: str) -> None:
    """It is pressed when a phase has begun, as its first line of progress says."""
    before = (here / "tokenizer.json").read_bytes()
    dice = random.Random(1)
    size = 1_000_000 if phase == "merging" else 10
    (here / "large.txt").write_bytes(b" ".join(bytes(dice.choices(b"abcdefghij", k=12)) for _ in range(size)))
    words = ["train", "large.txt", "--vocab", "2000000" if phase == "merging" else "270"]
    if phase == "counting":
        words += ["-"]  # which never ends
    if phase == "measuring":
        (here / "large.txt").write_text(TEXT * 20_000)
        words += ["-o", "new.json", "--report", "report.svg"]
    child = subprocess.Popen(
        [sys.executable, "-c", SHOWS_ALL, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert child.stdin is not None
    assert child.stderr is not None
    lines = []
    for line in child.stderr:
        lines.append(line.decode())
        if line.startswith(phase.encode()):
            break
    child.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    rest = child.stderr.read().decode()
    assert child.wait(HANGS) == 130, lines
    assert time.monotonic() - pressed < 30  # 0.2 s on an idle machine
    child.stdin.close()
    assert rest.splitlines()[-1] == "gptbpe: interrupted"
    assert (here / "tokenizer.json").read_bytes() == before
    made = {"new.json"} if phase == "measuring" else set()
    assert {path.name for path in here.iterdir()} == {"input.txt", "large.txt", "tokenizer.json"} | made


def test_progress_as_lines(here: Path) -> None:
    (here / "large.txt").write_text(TEXT * 5000)
    done = subprocess.run(
        [sys.executable, "-c", SHOWS_ALL, "train", "large.txt", "--vocab", "280", "-o", "new.json"],
        capture_output=True,
        env=environment(),
        check=True,
        timeout=HANGS,
    )
    lines = done.stderr.decode().splitlines()
    counting = [line for line in lines if line.startswith("counting: ")]
    memory = r", \d.* of memory" if console.memory() is not None else ""
    assert re.fullmatch(rf"counting: \d+ % of \d+\.\d MB, .*B/s(, \d+ s left)?{memory}", counting[-1])
    assert counting[-1].startswith("counting: 100 % of ")
    assert re.match(
        r"merging: 100 % of 23 merges, ", [line for line in lines if line.startswith("merging")][-1]
    )


def test_progress_on_a_terminal_leaves_the_output_alone(here: Path) -> None:
    (here / "large.txt").write_text(TEXT * 5000)
    keyboard, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "gptbpe", "train", "large.txt", "--vocab", "285", "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=environment(),
    )
    os.close(terminal)
    shown = b""

    def read() -> None:
        nonlocal shown
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(keyboard, 65536):
                shown += part

    reader = threading.Thread(target=read)
    reader.start()
    out, _ = child.communicate(timeout=HANGS)
    reader.join()
    os.close(keyboard)
    assert child.returncode == 0
    assert Tokenizer.from_bytes(out).vocab_size <= 290
    assert b"tokens" in shown


@pytest.mark.parametrize("rank", [10, 300, 20_000])
def test_the_time_left_follows_the_costs_of_merges(rank: int) -> None:
    """A merge at rank r takes 1/r: the estimate is the sum of what is left, not the mean of what was."""
    taken = sum(1 / each for each in range(rank, 2 * rank))
    left = sum(1 / each for each in range(2 * rank, 50_000))
    estimate = console.seconds_left("merging", rank, 2 * rank, 50_000, taken)
    assert estimate == pytest.approx(left, rel=0.1)
    assert console.seconds_left("counting", 100, 200, 1000, 2.0) == 16.0
    assert console.seconds_left("merging", 0, 200, 1000, 2.0) is None
    assert console.seconds_left("counting", 200, 200, 1000, 2.0) is None
