"""Threads that sleep while they wait, on a busy computer and only there."""

from __future__ import annotations

import os
from pathlib import Path

import loop
import pytest
import torch

from gptmodel.cli import main
from gptmodel.threads import wait_politely


@pytest.mark.parametrize(
    ("load", "said", "expected"),
    [
        (9.0, {}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        (0.1, {}, {}),
        (9.0, {"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        (9.0, {"GOMP_SPINCOUNT": "1000"}, {"GOMP_SPINCOUNT": "1000"}),
    ],
)
def test_only_where_it_is_busy_and_nobody_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, load: float, said: dict[str, str], expected: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    wait_politely(said)
    assert said == expected


def test_a_run_computes_with_the_threads_asked_for_and_says_how_they_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    try:
        assert main(["train", *loop.flags(tmp_path, threads=1, max_steps=2, device="cpu")]) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    said = capsys.readouterr().err
    assert "CPU, 1 thread," in said
    assert "threads   sleep while they wait" in said
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert main(["train", "--resume", *loop.flags(tmp_path, max_steps=2, device="cpu")]) == 0
    said = capsys.readouterr().err
    assert f"CPU, {before} thread" in said
    assert "sleep while they wait" not in said
