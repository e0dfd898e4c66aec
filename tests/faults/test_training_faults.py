"""The campaigns of this folder, cut short: that they work, and that they find nothing."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from _campaign import run


def test_training_that_is_killed_ends_with_the_same_bits() -> None:
    """More are tried with GPTMODEL_TEST_KILLS=50."""
    kills = os.environ.get("GPTMODEL_TEST_KILLS")
    words = ["--kills", kills] if kills else ["--kills", "4", "--steps", "40"]
    assert "every run ended with the same bits" in run("kill_training.py", *words)


def test_the_memory_of_a_run_does_not_grow() -> None:
    assert "grown by" in run("memory_of_training.py", "--from", "60", "--steps", "120", "--most", "32")


def test_a_damaged_checkpoint_is_refused() -> None:
    assert "none unnoticed" in run("damage_checkpoint.py", "--step", "2003")


def can_trace() -> bool:
    tried = ["strace", "-o", os.devnull, "true"]
    return shutil.which("strace") is not None and subprocess.run(tried, check=False).returncode == 0


@pytest.mark.skipif(not can_trace(), reason="needs strace, and leave to trace")
def test_a_call_that_fails_loses_nothing() -> None:
    words = ["--calls", "openat,fsync,rename", "--errors", "ENOSPC", "--most", "12"]
    assert "nothing lost" in run("inject_errors.py", *words)
