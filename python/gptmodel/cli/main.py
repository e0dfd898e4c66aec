"""The commands of ``gptmodel``, and where errors become one line and an exit code.

0: done. 1: the training failed (a loss that is not a number), or a check of the doctor. 2: usage, input that
cannot be used, memory, or a bug, as in ``gptbpe``. 130: interrupted. With GPTMODEL_DEBUG=1 every error shows
its traceback first. What a command makes goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

import cyclopts

from gptbpe.cli import usage
from gptmodel.cli.app import EXAMPLES, app, say
from gptmodel.cli.spelling import spelled
from gptmodel.errors import GptModelError, InterruptedRunError, SaidElsewhereError
from gptmodel.processes import leave, place

COMMANDS = {
    "train": "train:train",
    "generate": "generate:generate",
    "eval": "evaluate:evaluate",
    "plot": "output:plot",
    "export": "output:export",
    "doctor": "doctor:doctor",
}
"""The commands, and where each is: module and function. A module is imported when its command is called."""

for _position, (_name, _place) in enumerate(COMMANDS.items()):
    app.command(
        f"gptmodel.cli.{_place}",
        name=_name,
        help_epilogue=f"Example: `{EXAMPLES[_name]}`",
        sort_key=_position,
    )
app.register_install_completion_command()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no traceback reaches the user."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        return _run(words)


def _run(words: list[str]) -> int:
    """Run the command and turn what it raises into a line and an exit code."""
    try:
        code = app(prepared(words), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except cyclopts.CycloptsError as error:
        return _fail(_usage(error, words), 2) if place().first else 2
    except SaidElsewhereError as error:
        return error.exit_code
    except InterruptedRunError as error:
        return _fail(str(error), error.exit_code, label="" if error.exit_code == 130 else "error: ")
    except GptModelError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _fail("; ".join(["interrupted", *map(str, error.args)]), 130, label="")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0  # whoever read the output has seen enough
    except Exception as error:
        return _fail(_explain(error), 2)


def prepared(words: list[str]) -> list[str]:
    """The words in our spelling; help shows the values of the preset that they name."""
    words = spelled(words)
    usage.import_commands_for_help(app, words)
    if words[:1] == ["train"]:
        from gptmodel.cli.train import check_options, show_values_of

        check_options(words)
        if not {*usage.HELP}.isdisjoint(words):
            show_values_of(words)
    return words


def _usage(error: cyclopts.CycloptsError, words: list[str]) -> str:
    """What is wrong with the words, and where to read on."""
    if isinstance(error, cyclopts.UnknownCommandError):
        return usage.unknown_command(error)
    command = words[0] if words and words[0] in EXAMPLES else ""
    text = str(error)
    if isinstance(error, cyclopts.UnusedCliTokensError):
        text = usage.unused(
            error.unused_tokens or (), {"eval": "--data", "generate": "--prompt"}.get(command)
        )
    if "Did you mean" in text:
        return text
    return f"{text.rstrip('.')}; see {' '.join(['gptmodel', *command.split()])} --help"


def _explain(error: Exception) -> str:
    from gptbpe.cli.console import one_line
    from gptbpe.errors import GptBpeError

    if isinstance(error, (GptBpeError, OSError, ValueError, ImportError)):
        return one_line(error)
    allocation = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    if isinstance(error, MemoryError) or allocation or type(error).__name__ == "OutOfMemoryError":
        return "out of memory: lower --micro-batch-size (same result, less memory), or take a smaller model"
    name = type(error).__name__
    return f"{name}: {error} (a bug in gptmodel; GPTMODEL_DEBUG=1 shows where, please report it)"


def _fail(message: str, code: int, label: str = "error: ") -> int:
    if label and os.environ.get("GPTMODEL_DEBUG"):
        traceback.print_exc()
    say(f"gptmodel: {label}{' '.join(message.split())}")
    return code


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line; of several processes that train together, from the first alone."""
    if place().first:
        say(f"warning: {' '.join(str(message).split())}")


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process."""
    leave(main(arguments))
