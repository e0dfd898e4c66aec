"""The commands by name, and the one place where errors become a line and an exit code.

0: done. 1: a check failed. 2: wrong usage or something that cannot be done. 130: interrupted.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Sequence

import cyclopts

from gptbpe._core import __version__
from gptbpe.cli import console
from gptbpe.errors import GptBpeError

app = cyclopts.App(
    name="gptbpe",
    help="Byte-level BPE: train a tokenizer, encode text, make shards. `-` is standard input or output.",
    help_epilogue="First steps: `gptbpe demo`, or `gptbpe train input.txt --vocab 512`",
    help_format="markdown",
    version=__version__,
    suppress_keyboard_interrupt=False,
)

EXAMPLES = {
    "train": ("gptbpe.cli.train:train", "gptbpe train input.txt --vocab 512 -o tokenizer.json"),
    "encode": ("gptbpe.cli.encode:encode", 'gptbpe encode --text "Hello, world!" -t gpt2'),
    "decode": ("gptbpe.cli.encode:decode", "gptbpe encode notes.txt -t gpt2 | gptbpe decode -t gpt2"),
    "count": ("gptbpe.cli.encode:count", "gptbpe count *.txt -t cl100k_base"),
    "shard": ("gptbpe.cli.shards:shard", "gptbpe shard input.txt -t tokenizer.json -o data/"),
    "verify": ("gptbpe.cli.shards:verify", "gptbpe verify data/"),
    "inspect": ("gptbpe.cli.shards:inspect", "gptbpe inspect data/"),
    "viz": ("gptbpe.cli.look:viz", 'gptbpe viz --text "Hello, world!" -t gpt2'),
    "compare": ("gptbpe.cli.look:compare", "gptbpe compare input.txt -t gpt2 -t tokenizer.json"),
    "export": (
        "gptbpe.cli.convert:export",
        "gptbpe export -t tokenizer.json --format tiktoken -o mine.tiktoken",
    ),
    "import": (
        "gptbpe.cli.convert:import_",
        "gptbpe import ranks.tiktoken --pattern cl100k -o tokenizer.json",
    ),
    "doctor": ("gptbpe.cli.doctor:doctor", "gptbpe doctor"),
    "demo": ("gptbpe.cli.demo:demo", "gptbpe demo"),
}
"""Command -> where its function is (imported only when it is called) and an example of it."""

for _name, (_target, _example) in EXAMPLES.items():
    if importlib.util.find_spec(_target.partition(":")[0]) is None:
        continue
    app.command(_target, name=_name, help_epilogue=f"Example: `{_example}`")
app.register_install_completion_command()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no traceback reaches the user."""
    words = sys.argv[1:] if arguments is None else arguments
    # The parser takes a lone hyphen for an option.
    tokens = [str(console.STANDARD) if word == "-" else word for word in words]
    warnings.showwarning = _show_warning
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except cyclopts.CycloptsError as error:
        return _fail(" ".join(str(error).split()).replace(str(console.STANDARD), "-"), 2)
    except console.Failure as failure:
        return _fail(console.one_line(failure), failure.code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130, label="")
    except BrokenPipeError:
        _forget_output()
        return 0  # whoever read the output has seen enough
    except (GptBpeError, OSError, ValueError, ImportError) as error:
        return _fail(console.one_line(error), 2)
    except MemoryError:
        return _fail("out of memory; give less text at a time, or fewer threads", 2)
    except Exception as error:
        if os.environ.get("GPTBPE_TRACEBACK"):
            raise
        return _fail(
            f"{console.one_line(error)} (a bug in gptbpe; GPTBPE_TRACEBACK=1 shows where, please report it)",
            2,
        )


def _fail(message: str, code: int, label: str = "error: ") -> int:
    try:
        console.say(f"{label}{message}")
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
