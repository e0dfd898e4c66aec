"""What the tests of the commands share: calling one here, or in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptbpe.cli import commands as cli
from gptbpe.cli import main

HANGS = 900
"""Seconds after which a program hangs, however busy the machine is."""

TEXT = (
    "First Citizen: Before we proceed any further, hear me speak. All: Speak, speak. First Citizen: You are "
    "all resolved rather to die than to famish? All: Resolved, resolved.\n"
) * 10


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
