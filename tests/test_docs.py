"""Every command and every piece of Python in the README and in ``docs/`` is run, as it is typed there.

A page is followed from its first fenced block to its last in one empty folder, as a reader would. ``bash``
and ``python`` blocks are scripts that must succeed. In a ``console`` block the lines that begin with ``$``
are run; what stands under them must come out again, in order, where ``…`` stands for anything.

Three things differ from what a reader does, and a page shows the first two in its source:

* ``<!-- not run: reason -->`` before a block leaves it out; the reason is for readers of the source.
* ``<!-- fails -->`` before a block says that its last command is meant to end with an error.
* Training is cut short: ``--max-steps`` becomes 3 (and is added where a run has none), and batches,
  evaluations and samples are small. What a page claims about speed or quality is therefore not checked here.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "benches" / "README.md", ROOT / ".github" / "CONTRIBUTING.md"]
PAGES += [ROOT / "rust" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))

BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n+)?^```(?P<language>console|bash|python)\n(?P<body>.*?)^```$",
    re.M | re.S,
)
SMALL = {
    "GPTMODEL_BATCH_SIZE": "2",
    "GPTMODEL_MICRO_BATCH_SIZE": "2",
    "GPTMODEL_EVAL_BATCHES": "1",
    "GPTMODEL_SAMPLE_TOKENS": "8",
    "NO_COLOR": "1",
    "COLUMNS": "100",
}
HANGS = 900
"""Seconds after which a program hangs, however busy the machine is."""
TRAINING = re.compile(r"(python -m gptmodel\.train|gptmodel train)\b(?!.*--help)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, in what language, and what the page says about running it."""

    line: int
    language: str
    body: str
    note: str

    @property
    def fails(self) -> bool:
        return self.note == "fails"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        note = match["note"] or ""
        known = note == "fails" or note.startswith("not run: ")
        line = text.count("\n", 0, match.start("body"))
        assert not note or known, f"{page.name}:{line}: what does <!-- {note} --> mean?"
        found.append(Block(line, match["language"], match["body"], note))
    return found


def shortened(script: str) -> str:
    """Cut training short, in a shell line (continued lines are one) or in Python."""
    script = re.sub(r"\\\n *", "", script)
    script = re.sub(r"(max[_-]steps[\"']?\s*[ =:]\s*)\d+", r"\g<1>3", script)
    script = re.sub(r"(--max-new-tokens )\d+", r"\g<1>20", script)
    script = re.sub(r"(--batch[-_]size )\d+", r"\g<1>2", script)
    trains = TRAINING.match(script) and "--max-steps" not in script
    return f"{script} --max-steps 3" if trains else script


def commands(body: str) -> list[tuple[str, list[str]]]:
    """Return (command, expected lines) of a console block; a backslash continues a command."""
    found: list[tuple[str, list[str]]] = []
    continued = False
    for line in body.splitlines():
        if continued:
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        elif line.startswith("$ "):
            found.append((line[2:], []))
        elif found and line.strip():
            found[-1][1].append(line)
        continued = line.endswith("\\")
    return found


def first_missing(expected: list[str], output: str) -> str | None:
    """Return the first expected line that does not come in the output after the ones before it."""
    at = 0
    for line in expected:
        words = [re.escape(word).replace("…", r"[^\n]*?") for word in line.split()]
        match = re.compile(r"\s+".join(words)).search(output, at)
        if match is None:
            return line
        at = match.end()
    return None


@dataclass(frozen=True)
class Reader:
    """Someone who follows a page, in a folder of its own."""

    folder: Path
    environment: dict[str, str]

    def run(self, block: Block, script: str, expected: list[str] | None = None) -> None:
        script = shortened(script)
        command = (
            [sys.executable, "-c", script]
            if block.language == "python"
            else ["bash", "-euo", "pipefail", "-c", script]
        )
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=HANGS,
        )
        output = done.stdout.decode("utf-8", "replace")
        told = f"line {block.line}:\n{script}\nended with {done.returncode}:\n{output[-4000:]}"
        assert (done.returncode != 0) == block.fails, told
        missing = first_missing(expected or [], output)
        assert missing is None, f"{told}\nwithout the line that the page shows: {missing}"


@pytest.fixture
def reader(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, words in {"python": [], "gptbpe": ["-m", "gptbpe"], "gptmodel": ["-m", "gptmodel"]}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *words])} "$@"\n')
        program.chmod(0o755)
    folder = tmp_path / "reader"
    folder.mkdir()
    environment = os.environ | SMALL
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    environment["GPTMODEL_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")
    return Reader(folder, environment)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page: Path, reader: Reader) -> None:
    for block in blocks(page):
        if block.note.startswith("not run: "):
            continue
        if block.language != "console":
            reader.run(block, block.body)
            continue
        typed = commands(block.body)
        for number, (command, expected) in enumerate(typed):
            last = number == len(typed) - 1
            note = block.note if last else ""
            reader.run(Block(block.line, "console", block.body, note), command, expected)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example(script: Path, reader: Reader) -> None:
    """An example is run as it is, not cut short: it promises to take less than a minute."""
    subprocess.run(
        [sys.executable, str(script)], cwd=reader.folder, env=dict(os.environ), check=True, timeout=HANGS
    )


def test_slurm_script_saves_requeues_and_resumes(reader: Reader) -> None:
    """The script is run by bash in the part of SLURM: a signal before the limit, then a second turn."""
    script = ROOT / "docs" / "examples" / "slurm.sbatch"
    (reader.folder / "input.txt").write_text("the quick brown fox jumps over the lazy dog. " * 2000)
    scontrol = reader.folder.parent / "programs" / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "$@" >> requeued\n')
    scontrol.chmod(0o755)
    environment = reader.environment | {"SLURM_JOB_ID": "7"}
    words = [
        "bash",
        str(script),
        "--train-data",
        "input.txt",
        "--experiment-name",
        "night",
        "--eval-every",
        "1000",
        "--schedule",  # the second turn is shorter: only a constant rate leaves the first as it was
        "constant",
        "--warmup-steps",
        "1",
    ]

    def turn(steps: int) -> subprocess.Popen[bytes]:
        with (reader.folder / "out").open("ab") as out:
            command = [*words, "--max-steps", str(steps)]
            return subprocess.Popen(command, cwd=reader.folder, env=environment, stdout=out, stderr=out)

    metrics = reader.folder / "runs" / "night" / "metrics.jsonl"
    first = turn(100_000)
    began = time.monotonic()
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert first.poll() is None, (reader.folder / "out").read_text()
        assert time.monotonic() - began < HANGS
        time.sleep(0.1)
    first.send_signal(signal.SIGUSR1)
    assert first.wait(HANGS) == 0
    assert (reader.folder / "requeued").read_text() == "requeue 7\n"
    saved = sorted((reader.folder / "runs" / "night" / "checkpoints").glob("step-*"))
    assert saved, (reader.folder / "out").read_text()

    step = int(saved[-1].name.removeprefix("step-"))
    assert turn(step + 2).wait(HANGS) == 0, (reader.folder / "out").read_text()
    assert (reader.folder / "requeued").read_text() == "requeue 7\n"
    assert not (reader.folder / "runs" / "night-2").exists()
    newest = max((reader.folder / "runs" / "night" / "checkpoints").glob("step-*"))
    assert int(newest.name.removeprefix("step-")) == step + 2
