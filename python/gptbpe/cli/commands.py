"""The commands by name, and the one place where errors become a line and an exit code.

0: done. 1: a check failed. 2: wrong usage or something that cannot be done. 130: interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import cyclopts

from gptbpe._core import __version__
from gptbpe.cli import console, usage
from gptbpe.errors import GptBpeError

app = cyclopts.App(
    name="gptbpe",
    help="Byte-level BPE: train a tokenizer, encode text, make shards. `-` is standard input or output.",
    help_epilogue="First steps: `gptbpe demo`, or `gptbpe train input.txt --vocab 512`",
    help_format="markdown",
    version=__version__,
    suppress_keyboard_interrupt=False,
    default_parameter=cyclopts.Parameter(show_default=usage.shown),
)

EXAMPLES = {
    "train:train": "gptbpe train input.txt --vocab 512 -o tokenizer.json",
    "shrink:shrink": "gptbpe shrink tokenizer.json --vocab 300 -o small.json",
    "count_pretokens:count_pretokens": "gptbpe count-pretokens input.txt -o words.pcnt",
    "encode:encode": 'gptbpe encode --text "Hello, world!" -t gpt2',
    "encode:decode": "gptbpe encode notes.txt -t gpt2 | gptbpe decode -t gpt2",
    "encode:count": "gptbpe count *.txt -t cl100k_base",
    "shards:shard": "gptbpe shard input.txt -t tokenizer.json -o data/",
    "shards:verify": "gptbpe verify data/",
    "shards:inspect": "gptbpe inspect data/",
    "formats:export_shards": "gptbpe export-shards data/ --format megatron -o megatron/",
    "formats:import_shards": (
        "gptbpe import-shards corpus_text_document --format megatron --vocab-size 50304 -o data/"
    ),
    "look:viz": 'gptbpe viz --text "Hello, world!" -t gpt2',
    "look:compare": "gptbpe compare input.txt -t gpt2 -t tokenizer.json",
    "convert:export": "gptbpe export -t tokenizer.json --format tiktoken -o mine.tiktoken",
    "convert:import_": "gptbpe import ranks.tiktoken --pattern cl100k -o tokenizer.json",
    "doctor:doctor": "gptbpe doctor",
    "demo:demo": "gptbpe demo",
}
"""The commands, in the order of the help: where each is (module and function), and an example.

A module is imported when its command is called or help is printed: a mistyped command is answered without it.
"""


def name(command: str) -> str:
    """Return what a command is called on the command line.

    >>> name("convert:import_")
    'import'
    """
    return command.partition(":")[2].rstrip("_").replace("_", "-")


for _position, (_command, _example) in enumerate(EXAMPLES.items()):
    app.command(
        f"gptbpe.cli.{_command}",
        name=name(_command),
        help_epilogue=f"Example: `{_example}`",
        sort_key=_position,
    )
app.register_install_completion_command()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no traceback reaches the user."""
    words = sys.argv[1:] if arguments is None else arguments
    # The parser takes a lone hyphen for an option.
    tokens = [str(console.STANDARD) if word == "-" else word for word in words]
    warnings.showwarning = _show_warning
    try:
        usage.import_commands_for_help(app, words)
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except cyclopts.UnknownCommandError as error:
        return _fail(usage.unknown_command(error), 2)
    except cyclopts.CycloptsError as error:
        text = " ".join(str(error).split()).replace(str(console.STANDARD), "-")
        if "Did you mean" not in text:
            command = words[0] if words and words[0] in app else ""
            text = f"{text.rstrip('.')}; see {' '.join(['gptbpe', *command.split()])} --help"
        return _fail(text, 2)
    except console.Failure as failure:
        return _fail(console.one_line(failure), failure.code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130, label="")
    except BrokenPipeError:
        _forget_output()
        return 0  # whoever read the output has seen enough
    except (GptBpeError, OSError, ValueError, ImportError) as error:
        return _fail(console.one_line(error), 2)
    except MemoryError as error:
        return _fail(str(error) or "out of memory; give less text at a time, or fewer threads", 2)
    except Exception as error:
        if os.environ.get("GPTBPE_TRACEBACK"):
            raise
        return _fail(
            f"{console.one_line(error)} (a bug in gptbpe; GPTBPE_TRACEBACK=1 shows where, please report it)",
            2,
        )


def _fail(message: str, code: int, label: str = "error: ") -> int:
    try:
        console.say(f"gptbpe: {label}{message}")
        sys.stdout.flush()
    except OSError:
        _forget_output()
    return code


def _forget_output() -> None:
    """Let the interpreter's last flush go nowhere instead of failing once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    console.say(f"warning: {message}")
