"""``--budget``: what is read, what is measured, what is chosen."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gptmodel.cli import budget as cli
from gptmodel.config import compose
from gptmodel.errors import ConfigError
from gptmodel.training import budget
from gptmodel.training.budget import parameters_for, parse_duration, step_seconds
from gptmodel.training.config import Config

SMALL = {"context_length": 8, "width": 8, "heads": 2, "layers": 1, "batch_size": 2, "vocab": 270}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1.5d", 129600), ("7", 7)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-5s", "0s", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="90s, 10m or 2h"):
        parse_duration(text)


def test_a_step_is_measured_without_its_first_two() -> None:
    ticks = itertools.chain.from_iterable((100 * n, 100 * n + d) for n, d in enumerate(DURATIONS))
    found = step_seconds(compose(SMALL).config, 270, seconds=1.0, clock=lambda: float(next(ticks)))
    assert found == 2.0


def test_a_step_with_documents_is_measured_with_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def step(state: object, inputs: object, targets: object, documents: object) -> object:
        seen.append(documents)
        return real(state, inputs, targets, documents)

    real = budget.train_step
    monkeypatch.setattr(budget, "train_step", step)
    for documents in ("stream", "mask"):
        step_seconds(compose({**SMALL, "documents": documents}).config, 270, seconds=0.0)
    assert seen[0] is None
    assert seen[-1].shape == (2, 8)


DURATIONS = [50, 40, 2, 1, 3]


def test_more_operations_make_larger_models() -> None:
    sizes = [parameters_for(10.0**k) for k in range(12, 24)]
    assert sizes == sorted(sizes)
    assert parameters_for(2e13) == pytest.approx(1.83e6, rel=0.01)
    assert 6 * 10 * parameters_for(1e21) ** 2 == pytest.approx(1e21)


def test_a_given_preset_keeps_its_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(cli, "step_seconds", lambda *_, **__: 0.5)
    chosen = cli.within_budget({"preset": "tiny"}, "100s", spent=lambda: 0.0)
    assert chosen == {"preset": "tiny", "max_steps": 170}
    assert "a step takes 0.5 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("over", "steps", "said"),
    [
        (0.0, 170, "170 steps fill 85%"),
        (20.0, 136, "20 s went to start and to measure"),
        (100.0, 1, "a single step is done; give it more time"),
        (300.0, 1, "a single step is done; give it more time"),
    ],
)
def test_starting_and_measuring_are_counted(
    over: float, steps: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(cli, "step_seconds", lambda *_, **__: 0.5)
    assert cli.within_budget({"preset": "tiny"}, "100s", spent=lambda: over)["max_steps"] == steps
    assert said in capsys.readouterr().err
    sized = cli.within_budget({}, "100s", spent=lambda: over)
    assert sized["max_steps"] == steps
    assert sized["width"] <= cli.within_budget({}, "100s", spent=lambda: 0.0)["width"]


def test_without_a_size_one_is_chosen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(cli, "step_seconds", lambda *_, **__: 0.5)
    small, large = (cli.within_budget({"seed": 3}, budget, spent=lambda: 0.0) for budget in ("10s", "100h"))
    assert small["width"] < large["width"]
    assert small["layers"] < large["layers"]
    assert small["seed"] == large["seed"] == 3
    assert compose(large).config.optim.optimizer == "muon"
    said = capsys.readouterr().err
    assert "parameters suit it" in said
    assert "layers" in said


@pytest.mark.parametrize(
    ("given", "budget", "compiled"),
    [
        ({}, "10m", True),
        ({}, "9m", None),
        ({"compile": False}, "1h", False),
        ({"documents": "mask"}, "1h", None),
        ({"activation_checkpointing": True}, "1h", None),
    ],
)
def test_a_long_run_on_a_cpu_is_measured_compiled(
    given: dict[str, Any], budget: str, compiled: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def step_seconds(config: Config, *_: Any, **__: Any) -> float:
        measured.append(config.train.compile)
        return 0.5

    monkeypatch.setattr(cli, "step_seconds", step_seconds)
    wanted = {"preset": "tiny", "device": "cpu", **given}
    chosen = cli.within_budget(wanted, budget, spent=lambda: 0.0, environment={})
    assert chosen.get("compile") == compiled
    assert measured == [compiled]


def test_a_length_besides_is_refused() -> None:
    with pytest.raises(ConfigError, match="leave out --max-steps"):
        cli.within_budget({"max_steps": 3}, "10s", spent=lambda: 0.0)
