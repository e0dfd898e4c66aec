"""What the commands share: the application, the examples of their help, and the folder that is meant.

The files of this room import torch, and what imports it, inside the functions that compute: a mistyped option
is answered, and help printed, without it. ``tests/gptmodel/test_start.py`` checks that.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from gptbpe.cli import usage
from gptmodel.checkpoint import runs
from gptmodel.errors import CheckpointError

if TYPE_CHECKING:
    from gptmodel.load import GPT

EXAMPLES = {
    "train": "gptmodel train --train-data input.txt --preset tiny --max-steps 200",
    "generate": 'gptmodel generate runs/tiny --prompt "ROMEO:" --temperature 0.8',
    "eval": "gptmodel eval runs/tiny --data input.txt --batches 10",
    "plot": "gptmodel plot runs/tiny runs/nano -o losses.pdf",
    "doctor": "gptmodel doctor",
    "export": "gptmodel export runs/tiny --format hf -o exported/",
}

app = App(
    name="gptmodel",
    help="Train small GPTs on your own text, and use them.",
    help_epilogue="First steps: `gptmodel train --train-data input.txt`, then `gptmodel generate`.",
    help_format="markdown",
    version=lambda: __import__("gptbpe").__version__,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(show_default=usage.shown),
)

EvaluationPrecision = Literal["auto", "fp32", "bf16", "fp16"]
CheckpointOption = Annotated[Path | None, Parameter(name=["--checkpoint", "-c"])]


def chosen(path: Path | None) -> Path:
    """The run or checkpoint that was named, or the newest run in runs/."""
    found = runs.newest(Path("runs")) if path is None else path
    if found is None:
        raise CheckpointError(
            "there is no run in runs/ here: name the folder of a run or a checkpoint, or make one with "
            f"`{EXAMPLES['train']}`"
        )
    return found


def say_taken(folder: Path, path: Path | None) -> None:
    """Say which checkpoint ``folder`` is used, where ``path`` was named; None is the newest run."""
    say(f"model     {folder}" + (", of the newest run in runs/" if path is None else ""))


def placed(model: GPT, device: str, precision: str) -> GPT:
    """The model in eval mode on the device, with activations of ``precision``."""
    from gptmodel.device import compute_dtype, pick_device, pick_precision

    where = pick_device(device)
    model.compute_dtype = compute_dtype(pick_precision(precision, where))
    return model.to(where).eval()


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)
