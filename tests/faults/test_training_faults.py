"""The campaigns of this folder, cut short: that they work, and that they find nothing."""

from __future__ import annotations

import os

from _campaign import run


def test_training_that_is_killed_ends_with_the_same_bits() -> None:
    """More are tried with GPTMODEL_TEST_KILLS=50."""
    kills = os.environ.get("GPTMODEL_TEST_KILLS")
    words = ["--kills", kills] if kills else ["--kills", "4", "--steps", "40"]
    assert "every run ended with the same bits" in run("kill_training.py", *words)


def test_the_memory_of_a_run_does_not_grow() -> None:
    assert "grown by" in run("memory_of_training.py", "--from", "60", "--steps", "120", "--most", "32")
