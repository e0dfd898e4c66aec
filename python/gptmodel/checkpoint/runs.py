"""Run folders: naming a new one, finding one, and how to resume it.

A run lies in ``OUTPUT/NAME``. A new run never writes into an old one: the name gets a number until it is
free.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from gptmodel.errors import CheckpointError, ConfigError

__all__ = ["find", "new", "resume_command"]


def new(output: Path, name: str) -> Path:
    """Make the folder of a new run: ``OUTPUT/NAME``, or with the first free number behind it."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ConfigError(f"experiment name {name!r} should be a plain folder name")
    output.mkdir(parents=True, exist_ok=True)
    for number in range(1, 100_000):
        folder = output / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise ConfigError(f"{output} is full of runs called {name}: choose another --experiment-name")


def find(output: Path, name: str | None) -> Path:
    """The run to resume: ``OUTPUT/NAME``, or without a name the one with the newest checkpoint."""
    if name is not None:
        if not (output / name).is_dir():
            raise CheckpointError(f"there is no run {output / name} to resume")
        return output / name
    runs = [folder for folder in output.glob("*") if (folder / "checkpoints").is_dir()]
    if not runs:
        raise CheckpointError(f"there is no run in {output} to resume")
    return max(runs, key=lambda folder: (folder / "checkpoints").stat().st_mtime)


def resume_command(run: Path) -> str:
    """What to type to go on with ``run``."""
    words = ["gptmodel", "train", "--resume", "--experiment-name", run.name]
    if run.parent != Path("runs"):
        words += ["--output", str(run.parent)]
    return shlex.join(words)
