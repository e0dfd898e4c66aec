"""The campaigns against shards, cut short: that they work, and that they find nothing."""

from __future__ import annotations

import os

import pytest
from _campaign import run

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="needs fork, SIGKILL and files that are cut while open"
)


def test_damage_is_noticed() -> None:
    assert "none unnoticed" in run("damage_shards.py", "--step", "997")


def test_killed_writers_leave_whole_datasets() -> None:
    assert "nothing wrong" in run("kill_sharding.py", "--kills", "12")


def test_readers_survive_whatever_happens_to_their_files() -> None:
    assert "0 deaths" in run("cut_shards.py", "--cuts", "40")
