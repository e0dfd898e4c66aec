"""What the commands share: the application, the examples of their help, and the folder that is meant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gptmodel.checkpoint import runs
from gptmodel.device import compute_dtype, pick_device, pick_precision
from gptmodel.load import GPT

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

EvaluationPrecision = Literal["auto", "fp32", "bf16", "fp16"]
CheckpointOption = Annotated[Path | None, Parameter(name=["--checkpoint", "-c"])]


def chosen(path: Path | None) -> Path:
    """The folder of ``--checkpoint``, or the newest run."""
    return runs.find(Path("runs"), None) if path is None else path


def placed(model: GPT, device: str, precision: str) -> GPT:
    """The model in eval mode on the device, with activations of ``precision``."""
    where = pick_device(device)
    model.compute_dtype = compute_dtype(pick_precision(precision, where))
    return model.to(where).eval()


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)
