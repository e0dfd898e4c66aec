"""The command line: ``gptbpe train | encode | decode | …`` and ``python -m gptbpe``."""

from typing import TYPE_CHECKING

from gptbpe.lazy import lazily

if TYPE_CHECKING:
    from gptbpe.cli.commands import app, main

__all__ = ["app", "main"]

__getattr__, __dir__ = lazily(__name__, {"app": "commands", "main": "commands"})
