"""Inputs that are more than a local file: a part of one, and files in object stores."""

from __future__ import annotations

from gptbpe.io.ranges import FileRange

__all__ = ["FileRange"]
