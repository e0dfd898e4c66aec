"""The command line: what it prints where, how it fails, and that no traceback reaches anybody."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
import zstandard

from gptbpe import Tokenizer, extras
from gptbpe.cli import commands as cli
from gptbpe.cli import console, main

HANGS = 900
"""Seconds after which a program hangs, however busy the machine is."""

TEXT = (
    "First Citizen: Before we proceed any further, hear me speak. All: Speak, speak. First Citizen: You are "
    "all resolved rather to die than to famish? All: Resolved, resolved.\n"
) * 10


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with an input and a tokenizer, as the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(TEXT)
    Tokenizer.train(TEXT.encode(), vocab_size=280).save("tokenizer.json")
    return tmp_path


def call(capfdbinary: pytest.CaptureFixture[bytes], *words: str) -> tuple[int, bytes, str]:
    code = main(words)
    out, err = capfdbinary.readouterr()
    assert b"Traceback" not in err
    return code, out, err.decode()


def process(*words: str, stdin: bytes | None = None, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gptbpe", *words],
        input=stdin,
        capture_output=True,
        timeout=HANGS,
        env=environment(),
        check=False,
        **options,  # type: ignore[call-overload]
    )


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(cli.__file__ or "").parents[2]), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


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


def test_early_stop_is_a_warning(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, _, err = call(capfdbinary, "train", "input.txt", "--vocab", "2000000")
    assert code == 0
    assert "warning: training stopped at" in err


def test_encode_and_decode_are_inverse(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    hostile = bytes(range(256)) + "naïve 🙂\r\n<|endoftext|>".encode()
    (here / "hostile").write_bytes(hostile)
    code, ids, _ = call(capfdbinary, "encode", "hostile", "input.txt")
    assert code == 0
    assert ids.count(b"\n") == 2
    (here / "ids").write_bytes(ids)
    code, back, _ = call(capfdbinary, "decode", "ids")
    assert (code, back) == (0, hostile + TEXT.encode())
    assert call(capfdbinary, "decode", "--ids", "[108, 111,119]")[1] == b"low"
    code, out, _ = call(capfdbinary, "encode", "--text", "low", "--json")
    line = json.loads(out)
    assert line["tokens"] == len(line["ids"])


def test_encode_special(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert call(capfdbinary, "encode", "--text", "<|endoftext|>", "--allow-special")[1] == b"279\n"
    assert call(capfdbinary, "encode", "--text", "<|endoftext|>")[1].count(b" ") > 3
    assert call(capfdbinary, "encode", "--text", "--vocab")[0] == 0


def test_encode_packaged(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for name in ("gpt2", "GPT-2", "r50k"):
        assert call(capfdbinary, "encode", "--text", "Hello, world!", "-t", name)[1] == b"15496 11 995 0\n"


def test_a_folder_is_a_tokenizer(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Tokenizer.load("tokenizer.json").save_pretrained("folder")
    expected = call(capfdbinary, "count", "input.txt")
    assert call(capfdbinary, "count", "input.txt", "-t", "folder") == expected
    assert b"vocab size" in call(capfdbinary, "inspect", "folder")[1]


def test_count(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    tokens = len(Tokenizer.load("tokenizer.json").encode(TEXT))
    code, out, _ = call(capfdbinary, "count", "input.txt", "input.txt")
    assert code == 0
    assert out.decode() == f"{tokens}\tinput.txt\n{tokens}\tinput.txt\n{2 * tokens}\ttotal\n"
    line = json.loads(call(capfdbinary, "count", "input.txt", "--json")[1])
    assert line == {
        "input": "input.txt",
        "tokens": tokens,
        "bytes": len(TEXT),
        "bytes_per_token": round(len(TEXT) / tokens, 4),
    }


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_count_and_encode_decompress_as_shard_does(
    here: Path, suffix: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    data = gzip.compress(TEXT.encode()) if suffix == ".gz" else zstandard.compress(TEXT.encode())
    name = f"notes.jsonl{suffix}"  # plain text to these two, as notes.jsonl is
    (here / name).write_bytes(data)
    code, counted, err = call(capfdbinary, "count", name, "--json")
    assert (code, err) == (0, "")
    plain = json.loads(call(capfdbinary, "count", "input.txt", "--json")[1])
    assert json.loads(counted) == plain | {"input": name}
    assert call(capfdbinary, "encode", name) == call(capfdbinary, "encode", "input.txt")

    cut = f"cut.txt{suffix}"
    (here / cut).write_bytes(data[:-5])
    refused = [
        call(capfdbinary, *command, cut) for command in (("count",), ("encode",), ("shard", "-o", "s"))
    ]
    assert {code for code, _, _ in refused} == {2}
    said = {err for _, _, err in refused}
    assert said == {
        f"gptbpe: error: {cut} ends in the middle of its compressed data: it was cut; fetch it again\n"
    }


def test_viz(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, out, err = call(capfdbinary, "viz", "--text", "Hello, world!\n", "-t", "gpt2")
    assert code == 0
    assert out.decode() == "Hello|,|·world|!|↵\n\n"
    assert "5 tokens" in err
    assert b"\x1b[" in call(capfdbinary, "viz", "--text", "hi\nho", "-t", "gpt2", "--color", "always")[1]
    assert "(995)" in call(capfdbinary, "viz", "--text", " world", "-t", "gpt2", "--ids")[1].decode()
    (here / "broken").write_bytes(b"\xff\x00\x1b")
    assert call(capfdbinary, "viz", "broken", "-t", "gpt2")[1] == b"<FF>|<00>|<1B>\n"


def test_compare(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, out, _ = call(capfdbinary, "compare", "input.txt", "-t", "gpt2", "-t", "tokenizer.json")
    assert code == 0
    table = out.decode()
    assert "gpt2" in table
    assert "differ first" in table or "same places" in table
    code, out, _ = call(capfdbinary, "compare", "input.txt", "-t", "gpt2", "-t", "r50k_base", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[0]["tokens"] == rows[1]["tokens"]
    assert (
        "same places" in call(capfdbinary, "compare", "--text", "hi", "-t", "gpt2", "-t", "gpt2")[1].decode()
    )
    assert call(capfdbinary, "compare", "input.txt", "-t", "gpt2")[0] == 2


def test_export_and_import(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    tok = Tokenizer.load("tokenizer.json")
    for form, target in (("tiktoken", "x.tiktoken"), ("gpt2", "folder"), ("json", "x.json")):
        assert call(capfdbinary, "export", "--format", form, "-o", target)[0] == 0
    words = [
        "import",
        "x.tiktoken",
        "--pattern",
        "cl100k",
        "--special-token",
        "<|endoftext|>=279",
        "-o",
        "y.json",
    ]
    assert call(capfdbinary, *words)[0] == 0
    assert Tokenizer.load("y.json").encode(TEXT) == tok.encode(TEXT)
    assert Tokenizer.load("y.json").special_tokens == tok.special_tokens
    words = ["import", "folder/merges.txt", "folder/vocab.json", "--pattern", "cl100k", "-o", "z.json"]
    assert call(capfdbinary, *words)[0] == 0
    assert Tokenizer.load("z.json").encode(TEXT) == tok.encode(TEXT)
    assert call(capfdbinary, "import", "x.json", "-o", "w.json")[0] == 0
    assert Tokenizer.load("w.json") == tok
    assert call(capfdbinary, "import", "gpt2", "-o", "g.json")[0] == 0
    assert Tokenizer.load("g.json") == Tokenizer.get("gpt2")
    code, _, err = call(capfdbinary, "import", "x.tiktoken")
    assert (code, "--pattern" in err) == (2, True)


def test_doctor(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, out, err = call(capfdbinary, "doctor")
    assert code == 0
    assert b"encoding gpt2" in out
    assert "all well" in err
    findings = json.loads(call(capfdbinary, "doctor", "--json")[1])
    assert {finding["state"] for finding in findings} <= {"ok", "absent"}


def test_doctor_fails_on_a_damaged_package(
    here: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gptbpe import packaged

    entry = packaged.ENCODINGS["r50k_base"]
    monkeypatch.setitem(packaged.ENCODINGS, "damaged", entry._replace(sha256="0" * 64))
    code, out, _ = call(capfdbinary, "doctor")
    assert code == 1
    assert b"failed  encoding damaged" in out


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


def test_a_failed_training_keeps_the_old_file(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    before = (here / "tokenizer.json").read_bytes()
    assert call(capfdbinary, "train", "missing.txt")[0] == 2
    assert (here / "tokenizer.json").read_bytes() == before


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


def test_the_demo_walks_the_whole_way(tmp_path: Path) -> None:
    if find_spec("torch") is None or find_spec("matplotlib") is None:
        pytest.skip("the demo trains a model, which needs gptbpe[model]")
    (tmp_path / "demo" / "runs" / "demo").mkdir(parents=True)  # as if it had been run before
    done = process("demo", "--max-steps", "1", "--prompt", "The ", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert b"The " in done.stdout
    said = done.stderr.decode()
    assert "$ gptbpe shard input.txt -t tokenizer.json -o data/" in said
    assert "$ python -m gptmodel.train --shards data/" in said
    _, _, printed = said.partition("to try next:\n")
    generate, tensorboard, viz, *_ = map(shlex.split, printed.splitlines())
    for command in (generate, viz):  # as printed, where the demo was started
        tried = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False)
        assert tried.returncode == 0, tried.stderr.decode()
    assert (tmp_path / tensorboard[2]).is_dir()
    assert (tmp_path / "demo" / "losses.png").stat().st_size > 1000
    assert (tmp_path / "demo" / "runs" / "demo-2").is_dir()


def test_the_demo_says_what_is_missing(
    here: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = call(capfdbinary, "demo")
    assert (code, extras.install("model") in err) == (2, True)
    assert not (here / "demo").exists()


def test_it_starts_without_the_model_packages() -> None:
    code = "import sys, gptbpe, gptbpe.cli; gptbpe.cli.main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
