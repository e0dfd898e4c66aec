"""Threads that sleep while they wait, on a busy computer and only there."""

from __future__ import annotations

import os

import pytest

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
