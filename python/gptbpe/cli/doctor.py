"""``gptbpe doctor``: is everything here that should be, and does it work?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from gptbpe import extras, packaged
from gptbpe._core import __version__
from gptbpe.cli import console
from gptbpe.tokenizer import Tokenizer

LEAST_FREE = 100_000_000
"""Bytes of free disk below which something is wrong."""

USUAL_ENCODING = "120 to 300 MB/s on an Intel Xeon (Sapphire Rapids)"
"""Measured with `encoding_speed`, six times."""


class Findings:
    """What was looked at, whether it is as it should be, and what was found."""

    def __init__(self) -> None:
        self._rows: list[dict[str, str]] = []

    def check(self, name: str, test: Callable[[], str]) -> None:
        """Note what ``test`` returns, or the exception that it raises as a failure."""
        try:
            self._rows.append({"check": name, "state": "ok", "found": test()})
        except Exception as error:  # a doctor reports whatever is wrong and goes on
            self._rows.append({"check": name, "state": "failed", "found": console.one_line(error)})

    def optional(self, package: str, extra: str) -> None:
        """Note the version of an optional package, or what installs it."""
        try:
            state, found = "ok", metadata.version(package)
        except metadata.PackageNotFoundError:
            state, found = "absent", f"optional: {extras.install(extra)}"
        self._rows.append({"check": package, "state": state, "found": found})

    def show(self, json: bool) -> int:
        """Print the findings and return the exit code: 1 where something failed."""
        failed = sum(row["state"] == "failed" for row in self._rows)
        if json:
            console.write_json(self._rows)
        else:
            for row in self._rows:
                console.write(f"{row['state']:<8}{row['check']:<22}{row['found']}\n")
            console.say("all well" if not failed else f"{failed} check{'s' * (failed > 1)} failed")
        return 1 if failed else 0


def doctor(*, json: console.Json = False) -> int:
    """Check this installation: versions, packaged encodings, a round trip, disk, extras and speed.

    The exit code is 1 if a check fails; a missing optional package is not a failure. For training, see
    `gptmodel doctor`, which looks at PyTorch, the device and the time of a step.

    Parameters
    ----------
    json
        Print the findings as JSON on standard output.
    """
    findings = Findings()
    findings.check("gptbpe", lambda: f"{__version__} in {Path(__file__).parent.parent}")
    findings.check("python", lambda: f"{platform.python_version()} {sys.platform} {platform.machine()}")
    findings.check("cores", cores)
    for name in packaged.names():
        findings.check(f"encoding {name}", lambda name=name: _check_encoding(name))  # type: ignore[misc]
    findings.check("round trip", _check_round_trip)
    findings.check("temporary folder", _check_folder)
    findings.check("disk", lambda: free_space(Path.cwd()))
    for package, extra in extras.OPTIONAL.items():
        findings.optional(package, extra)
    findings.check("speed of encoding", encoding_speed)
    return findings.show(json)


def cores() -> str:
    """How many cores this process may use, of how many, and how busy they are."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{usable} of {os.cpu_count()}{load}"


def free_space(folder: Path) -> str:
    """How much room the disk of a folder has. Raises OSError where it is nearly full."""
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise OSError(f"{console.size(free)} free in {folder}; shards and checkpoints need room")
    return f"{console.size(free)} free in {folder}"


def encoding_speed() -> str:
    """Encode a megabyte of English with one thread, best of three."""
    from pydoc_data.topics import topics

    text = "\n".join(topics.values()).encode()
    text *= -(-1_000_000 // len(text))
    tok = Tokenizer.get("gpt2")
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        tok.encode_batch([text], threads=1)
        seconds.append(time.perf_counter() - began)
    return f"{console.size(len(text) / min(seconds))}/s on one core (gpt2, English); usual {USUAL_ENCODING}"


def _check_encoding(name: str) -> str:
    tok = Tokenizer.get(name)
    text = "Hello, world! 你好 🙂"
    if tok.decode(tok.encode(text)) != text:
        raise ValueError("decodes to something else than was encoded; reinstall gptbpe")
    return f"{tok.vocab_size:,} tokens, hash as expected"


def _check_round_trip() -> str:
    data = bytes(range(256)) * 4
    tok = Tokenizer.train(data, vocab_size=300)
    if tok.decode_bytes(tok.encode(data)) != data:
        raise ValueError("a trained tokenizer does not give its text back; reinstall gptbpe")
    return f"{len(tok.merges)} merges trained, all bytes come back"


def _check_folder() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tok = Tokenizer.train(b"low low lower", vocab_size=259)
        tok.save(path)
        if Tokenizer.load(path) != tok:
            raise ValueError("a saved tokenizer loads as another one")
        return f"{tempfile.gettempdir()} can be written"
