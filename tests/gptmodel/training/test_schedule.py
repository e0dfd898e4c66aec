"""The learning rate of each step against the closed forms."""

from __future__ import annotations

import math

import pytest

from gptmodel.training.schedule import ScheduleConfig, learning_rate_factor, warmup_steps

TOTAL = 100


def factors(**settings: object) -> list[float]:
    config = ScheduleConfig.model_validate(settings)
    return [learning_rate_factor(config, step, TOTAL) for step in range(TOTAL)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd", "constant"])
def test_warm_up_is_linear_and_never_zero(schedule: str) -> None:
    found = factors(schedule=schedule, warmup_steps=8)
    assert found[:8] == [(k + 1) / 8 for k in range(8)]
    assert found[8] == pytest.approx(1.0, abs=0.01)


def test_cosine_is_the_formula() -> None:
    found = factors(schedule="cosine", warmup_steps=10, final_fraction=0.1)
    for step in range(10, TOTAL):
        assert found[step] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * (step - 10) / 89)) / 2)
    assert found[-1] == pytest.approx(0.1)


def test_wsd_is_flat_then_a_straight_line_to_the_end() -> None:
    found = factors(schedule="wsd", warmup_steps=0, decay_fraction=0.4, final_fraction=0.0)
    assert found[:60] == [1.0] * 60
    assert found[60:] == pytest.approx([1 - (k + 1) / 40 for k in range(40)])
    assert found[-1] == pytest.approx(0.0)


def test_linear_is_a_straight_line_from_the_warm_up_to_the_end() -> None:
    found = factors(schedule="linear", warmup_steps=20, final_fraction=0.1)
    assert found[20:] == pytest.approx([1 - 0.9 * (k + 1) / 80 for k in range(80)])


def test_constant_stays() -> None:
    assert set(factors(schedule="constant", warmup_steps=0)) == {1.0}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_steps_beyond_the_end_keep_the_final_rate(schedule: str) -> None:
    config = ScheduleConfig.model_validate({"schedule": schedule, "final_fraction": 0.25})
    assert learning_rate_factor(config, 10 * TOTAL, TOTAL) == pytest.approx(0.25)


@pytest.mark.parametrize(("given", "total", "expected"), [(None, 100, 5), (None, 10**6, 200), (50, 20, 20)])
def test_length_of_the_warm_up(given: int | None, total: int, expected: int) -> None:
    assert warmup_steps(ScheduleConfig.model_validate({"warmup_steps": given}), total) == expected


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd", "constant"])
def test_runs_of_a_few_steps_have_a_rate(schedule: str, total: int) -> None:
    config = ScheduleConfig.model_validate({"schedule": schedule})
    assert all(0 <= learning_rate_factor(config, step, total) <= 1 for step in range(total))
