"""Inputs that are more than a local file: standard input, a part of a file, and files in object stores."""

from __future__ import annotations

from gptbpe.io.ranges import FileRange
from gptbpe.io.standard import STANDARD_INPUT, STANDARD_PATH

__all__ = ["STANDARD_INPUT", "STANDARD_PATH", "FileRange"]
