"""The campaigns against shards, cut short: that they work, and that they find nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gptbpe

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="needs fork, SIGKILL and files that are cut while open"
)


def run(script: str, *words: str) -> str:
    python = str(Path(gptbpe.__file__).parents[1])
    command = [sys.executable, str(HERE / script), *words]
    environment = os.environ | {"PYTHONPATH": python}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout


def test_damage_is_noticed() -> None:
    assert "none unnoticed" in run("damage_shards.py", "--step", "997")


def test_killed_writers_leave_whole_datasets() -> None:
    assert "nothing wrong" in run("kill_sharding.py", "--kills", "12")


def test_killed_work_items_change_nothing() -> None:
    assert "nothing wrong" in run("kill_items.py", "--kills", "12")


def test_readers_survive_whatever_happens_to_their_files() -> None:
    assert "0 deaths" in run("cut_shards.py", "--cuts", "40")
