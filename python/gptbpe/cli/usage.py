"""What both programs add to cyclopts, which parses their command lines.

Commands are registered by the place of their function, and imported when they are called.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias, get_args, get_origin

import cyclopts
from cyclopts import Parameter

__all__ = ["MaybeWhole", "Whole", "import_commands_for_help", "shown", "unknown_command", "unused", "whole"]

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


def whole(kind: Any, tokens: Sequence[cyclopts.Token]) -> Any:
    """Convert what was typed for an option that takes a whole number, or several.

    The parser's own conversion rounds: ``--weight 1.5`` would be 2. Words that the option takes besides
    numbers, such as ``auto``, stay words.
    """
    words = {word for part in get_args(kind) for word in get_args(part) if isinstance(word, str)}
    values: list[int | str] = []
    for token in tokens:
        if token.value in words:
            values.append(token.value)
            continue
        try:
            values.append(int(token.value))
        except ValueError:
            hint = f", or {' or '.join(sorted(words))}" if words else ""
            raise ValueError(f"{token.value!r} is not a whole number such as 1000{hint}") from None
    many = list in (get_origin(kind), *map(get_origin, get_args(kind)))
    return values if many else values[0]


Whole: TypeAlias = Annotated[int, Parameter(converter=whole)]
MaybeWhole: TypeAlias = Annotated[int | None, Parameter(converter=whole)]


def unused(words: Sequence[str], option: str | None) -> str:
    """Say that words are not expected there, and with which option they may have been meant."""
    said = " ".join(words)
    hint = "" if option is None else f"; use {option} {shlex.quote(said)}"
    return f"{said}: nothing is expected there{hint}"


ELSEWHERE = {
    "help": "--help",
    "version": "--version",
    "tokenize": "encode",
    "detokenize": "decode",
    "stats": "inspect",
    "info": "inspect",
    "show": "viz",
    "visualize": "viz",
    "convert": "import",
    "download": "import",
    "preprocess": "shard",
    "prepare": "shard",
    "sample": "generate",
    "chat": "generate",
    "complete": "generate",
    "evaluate": "eval",
    "test": "eval",
    "resume": "train --resume",
    "finetune": "train --init-from",
    "fine-tune": "train --init-from",
}
"""What other programs call our commands."""


def unknown_command(error: cyclopts.UnknownCommandError) -> str:
    """Say that there is no such command, and what there is, without importing the commands."""
    known = [name for name in error.app or () if not name.startswith("-")]
    word = (error.unused_tokens or [""])[0]
    meant = ELSEWHERE.get(word.casefold(), "")
    if meant.startswith("--") or meant.partition(" ")[0] in known:
        return f'Unknown command "{word}". Did you mean "{meant}"? Available commands: {", ".join(known)}'
    near = difflib.get_close_matches(word, known, n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    return f'Unknown command "{word}".{hint} Available commands: {", ".join(known)}'
