"""Run folders: naming a new one, finding one, and how to resume it.

A run lies in ``OUTPUT/NAME``. A new run never writes into an old one: the name gets a number until it is
free.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from gptmodel.errors import CheckpointError, ConfigError, did_you_mean

__all__ = ["check_name", "find", "new", "newest", "resume_command"]


def check_name(name: str) -> str:
    """The name of a run's folder. Raises ConfigError for what is no plain name."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ConfigError(
            f"the experiment name {name!r} should be a plain folder name; --output says where it lies"
        )
    return name


def new(output: Path, name: str) -> Path:
    """Make the folder of a new run: ``OUTPUT/NAME``, or with the first free number behind it."""
    check_name(name)
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
            near = did_you_mean(name, [run.name for run in _runs(output)])
            raise CheckpointError(f"there is no run {output / name} to resume{near}")
        return output / name
    found = newest(output)
    if found is None:
        raise CheckpointError(
            f"there is no run in {output} to resume: leave --resume out to begin one, or say --resume auto, "
            "which begins where there is nothing yet"
        )
    return found


def newest(output: Path) -> Path | None:
    """The run with the newest checkpoint; None where there is no run."""
    return max(_runs(output), key=lambda folder: (folder / "checkpoints").stat().st_mtime, default=None)


def _runs(output: Path) -> list[Path]:
    return [folder for folder in output.glob("*") if (folder / "checkpoints").is_dir()]


def resume_command(run: Path) -> str:
    """What to type to go on with ``run``."""
    words = ["gptmodel", "train", "--resume", "--experiment-name", run.name]
    if run.parent != Path("runs"):
        words += ["--output", str(run.parent)]
    return shlex.join(words)
