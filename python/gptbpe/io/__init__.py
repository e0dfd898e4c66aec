"""Inputs that are more than a file's name: a part of a file."""

from __future__ import annotations

from gptbpe.io.ranges import FileRange

__all__ = ["FileRange"]
