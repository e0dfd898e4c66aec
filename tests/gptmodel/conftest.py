"""What the tests of this folder share: a cache of their own, and help that no environment shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import gptmodel
from gptmodel.cli.app import app


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, here and in processes that are started, which find this gptmodel."""
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(gptmodel.__file__).parents[1]))
    return tmp_path / "cache"


@pytest.fixture
def wide_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Help is 300 columns wide and without colours.

    Otherwise the first help that a process shows makes a console, which keeps the COLUMNS of that moment for
    all that come after it: of several test processes, each meets another test first.
    """
    monkeypatch.setattr(app, "console", Console(width=300, force_terminal=False, color_system=None))
