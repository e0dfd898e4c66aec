"""How standard input is named."""

from __future__ import annotations

from pathlib import Path

__all__ = ["STANDARD_INPUT", "STANDARD_PATH"]

STANDARD_INPUT = "-"
"""The name of standard input."""
STANDARD_PATH = Path("\x1f-")
"""Standard input where a path is expected; no file has this name by accident."""
