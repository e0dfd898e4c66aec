"""``gptmodel plot`` and ``gptmodel export``: what a run leaves for people and for other programs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gptmodel.cli.app import CheckpointOption, chosen, say
from gptmodel.errors import DataError


def plot(
    *runs: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("losses.png"),
    title: str | None = None,
) -> None:
    """Draw training and held-out losses of runs over steps, epochs and tokens.

    Parameters
    ----------
    runs
        One or more run folders. [default: the newest run in runs/]
    output
        The picture to write: .pdf, .png or .svg.
    title
        A title above the picture.
    """
    from gptmodel.plot import plot_losses

    for run in runs[1:]:
        if run.suffix in (".pdf", ".png", ".svg") and not run.exists():
            raise DataError(f"{run} is not a run; the picture is named with -o {shlex.quote(str(run))}")
    print(plot_losses(list(runs) or [chosen(None)], output, title=title))


def export(
    checkpoint: CheckpointOption = None,
    *,
    format: Annotated[Literal["hf", "pth", "safetensors"], Parameter(name=["--format", "-f"])] = "hf",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a model in another program's format.

    Parameters
    ----------
    checkpoint
        A run or checkpoint folder, or RUN/best. [default: the newest run in runs/]
    format
        hf: a folder for transformers; pth: one file for torch.load; safetensors: one file of tensors.
    output
        The folder (hf) or file to write. [default: named after the run]
    force
        Replace an earlier export of the same name.
    """
    from gptmodel.export import export as write

    folder = chosen(checkpoint)
    name = folder.resolve().name
    target = output or Path(f"{name}-hf" if format == "hf" else f"{name}.{format}")
    written = write(folder, target, format=format, overwrite=force)
    say(f"run       {folder}" + (", the newest in runs/" if checkpoint is None else ""))
    print(written)
