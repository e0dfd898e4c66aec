"""What the commands share: the application, the examples of their help, and the folder that is meant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gptmodel.checkpoint import runs

EXAMPLES = {
    "train": "gptmodel train --train-data input.txt --preset tiny --max-steps 200",
    "generate": 'gptmodel generate --checkpoint runs/tiny --prompt "ROMEO:" --temperature 0.8',
    "eval": "gptmodel eval --checkpoint runs/tiny --data input.txt --batches 10",
    "plot": "gptmodel plot runs/tiny runs/nano -o losses.pdf",
    "export": "gptmodel export --checkpoint runs/tiny --format hf -o exported/",
}

app = App(
    name="gptmodel",
    help="Train small GPTs on your own text, and use them.",
    help_epilogue="First steps: `gptmodel train --train-data input.txt`, then `gptmodel generate`.",
    help_format="markdown",
    version=lambda: __import__("gptbpe").__version__,
    suppress_keyboard_interrupt=False,
)

CheckpointOption = Annotated[Path | None, Parameter(name=["--checkpoint", "-c"])]


def chosen(path: Path | None) -> Path:
    """The folder of ``--checkpoint``, or the newest run."""
    return runs.find(Path("runs"), None) if path is None else path


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)
