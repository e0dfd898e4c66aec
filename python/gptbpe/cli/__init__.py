"""The command line: ``gptbpe train | encode | decode | …`` and ``python -m gptbpe``."""

from gptbpe.cli.commands import app, main

__all__ = ["app", "main"]
