"""Runs a campaign of this folder as a user would, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gptbpe

HERE = Path(__file__).parent


def run(script: str, *words: str) -> str:
    """What the campaign printed; it must end with exit code 0."""
    python = str(Path(gptbpe.__file__).parents[1])
    command = [sys.executable, str(HERE / script), *words]
    environment = os.environ | {"PYTHONPATH": python}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout
