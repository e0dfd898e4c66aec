"""The table at the end of a run of ``pytest benches``."""

from __future__ import annotations

import os
import platform

import pytest

Row = tuple[str, str, float, float]
rows: list[Row] = []


@pytest.fixture
def report() -> list[Row]:
    """Return the list to which a benchmark adds (what, text, MB/s of ours, MB/s of the peer)."""
    return rows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured: one machine, one process, both sides in turns."""
    if not rows:
        return
    write = terminalreporter.write_line
    write("")
    write(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    write(f"{'':<30} {'gptbpe':>12} {'peer':>12} {'ratio':>7}")
    for what, text, ours, peer in rows:
        write(f"{what + ', ' + text:<30} {ours:>7.1f} MB/s {peer:>7.1f} MB/s {ours / peer:>6.2f}x")
    write("medians of interleaved rounds, after equality of the ids; one thread, but training may use all")
