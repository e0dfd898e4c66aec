"""Threads that sleep while they wait, on a busy computer and only there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import loop
import pytest
import torch

import gptmodel
from gptmodel import threads
from gptmodel.cli import main
from gptmodel.threads import share_found, share_of_a_core, wait_politely


@pytest.mark.parametrize(
    ("share", "said", "expected"),
    [
        (0.5, {"OMP_NUM_THREADS": "2"}, "PASSIVE"),
        (0.79, {"OMP_NUM_THREADS": "2"}, "PASSIVE"),
        (0.81, {"OMP_NUM_THREADS": "2"}, None),
        (0.99, {"OMP_NUM_THREADS": "2"}, None),
        (0.5, {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        (0.5, {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "1000"}, None),
        (0.5, {"OMP_NUM_THREADS": "1"}, None),  # one thread waits for nobody
    ],
)
def test_only_where_it_is_busy_and_nobody_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, share: float, said: dict[str, str], expected: str | None
) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(threads, "_found", [])
    asked: list[int] = []
    wait_politely(said, lambda count: asked.append(count) or share)  # type: ignore[func-returns-value]
    assert said.get("OMP_WAIT_POLICY") == expected
    measured = "GOMP_SPINCOUNT" not in said and expected != "ACTIVE" and said["OMP_NUM_THREADS"] != "1"
    assert asked == ([2] if measured else [])
    assert share_found() == (share if measured else None)


def test_as_many_threads_are_timed_as_openmp_would_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(threads, "_found", [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    asked: list[int] = []
    for environment in ({}, {"OMP_NUM_THREADS": ""}, {"OMP_NUM_THREADS": "7"}):
        wait_politely(environment, lambda count: asked.append(count) or 1.0)  # type: ignore[func-returns-value]
    assert asked == [3, 3, 7]


def test_nothing_is_timed_when_torch_is_loaded_already() -> None:
    environment = {"OMP_NUM_THREADS": "2"}
    wait_politely(environment, lambda _: pytest.fail("measured"))
    assert environment == {"OMP_NUM_THREADS": "2"}


def test_the_share_is_processor_time_over_the_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock takes 10 ms, of which a thread has computed for half."""
    own = threading.local()

    def wall() -> float:
        own.now = getattr(own, "now", 0.0) + 0.01
        return float(own.now)

    monkeypatch.setattr(time, "perf_counter", wall)
    monkeypatch.setattr(time, "thread_time", lambda: own.now / 2)
    # 10 ms at the start, 60 at the last look, 70 for the share: 50 computed in halves of 60
    assert share_of_a_core(3, seconds=0.05) == pytest.approx(0.025 / 0.06)


def test_real_threads_have_a_part_of_a_core() -> None:
    assert 0 < share_of_a_core(2, seconds=0.01) < 1.2


@pytest.mark.parametrize(
    ("share", "line"),
    [
        (
            0.5,
            "threads   sleep while they wait: other programs leave each 50% of a core (OMP_WAIT_POLICY=",
        ),
        (1.0, None),
    ],
)
def test_a_command_measures_before_torch_is_loaded(share: float, line: str | None, tmp_path: Path) -> None:
    words = ["train", *map(str, loop.flags(tmp_path, max_steps=1, device="cpu"))]
    script = (
        "import sys\nfrom gptmodel import threads\n"
        "def measured(count):\n"
        "    assert 'torch' not in sys.modules\n"
        f"    return {share}\n"
        "threads.share_of_a_core = measured\n"
        f"from gptmodel.cli import main\nsys.exit(main({words!r}))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in threads.SETTINGS}
    environment |= {"PYTHONPATH": str(Path(gptmodel.__file__).parents[1]), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert ("sleep while they wait" in done.stderr) == (line is not None)
    if line:
        assert line in done.stderr


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
    assert "threads   sleep while they wait, as OMP_WAIT_POLICY says" in said
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert main(["train", "--resume", *loop.flags(tmp_path, max_steps=2, device="cpu")]) == 0
    said = capsys.readouterr().err
    assert f"CPU, {before} thread" in said
    assert "sleep while they wait" not in said
