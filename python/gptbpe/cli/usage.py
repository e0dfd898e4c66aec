"""What both programs add to cyclopts, which parses their command lines.

Commands are registered by the place of their function, and imported when they are called.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import cyclopts

__all__ = ["import_commands_for_help", "shown", "unknown_command"]

HELP = ("--help", "-h")


def shown(default: object) -> str | None:
    """What the help shows as the value of an option that is not given; None: nothing.

    A flag is off, and `-` is standard output, unless the description says otherwise.
    """
    standard = str(default).lstrip("\x1f") == "-"  # STANDARD_PATH of gptbpe.cli.console
    nothing = default is None or default is False or standard
    return None if nothing else str(default)


def import_commands_for_help(app: cyclopts.App, words: Sequence[str]) -> None:
    """Import the commands where their list is about to be shown, in which each has a sentence of its own."""
    if not words or words[0] in HELP:
        app.resolved_commands()


def unknown_command(error: cyclopts.UnknownCommandError) -> str:
    """Say that there is no such command, and what there is, without importing the commands."""
    known = [name for name in error.app or () if not name.startswith("-")]
    word = (error.unused_tokens or [""])[0]
    near = difflib.get_close_matches(word, known, n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    return f'Unknown command "{word}".{hint} Available commands: {", ".join(known)}'
