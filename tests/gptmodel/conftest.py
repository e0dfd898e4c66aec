"""What the tests of one program share: a console whose width and colours no environment decides."""

from __future__ import annotations

import pytest
from rich.console import Console

from gptmodel.cli.app import app


@pytest.fixture
def wide_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Help is 300 columns wide and without colours.

    Otherwise the first help that a process shows makes a console, which keeps the COLUMNS of that moment for
    all that come after it: of several test processes, each meets another test first.
    """
    monkeypatch.setattr(app, "console", Console(width=300, force_terminal=False, color_system=None))
