"""Run folders: naming a new one, finding one, and how to resume it.

A run lies in ``OUTPUT/NAME``. A new run never writes into an old one: the name gets a number until it is
free.
"""

from __future__ import annotations

import itertools
import shlex
import sys
from pathlib import Path

from gptmodel import files
from gptmodel.errors import CheckpointError, ConfigError, LockedError, did_you_mean

__all__ = ["check_name", "check_output", "find", "has_begun", "new", "newest", "resume_command"]


def check_name(name: str) -> str:
    """The name of a run's folder. Raises ConfigError for what is no plain name."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ConfigError(
            f"the experiment name {name!r} should be a plain folder name; --output says where it lies"
        )
    return name


def check_output(output: Path) -> None:
    """Raise ConfigError where a file stands in the way of the folder of runs."""
    for folder in (output, *output.parents):
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--output {output}: {folder} is a file; name a folder for the runs")


def new(output: Path, name: str) -> Path:
    """Make the folder of a new run: ``OUTPUT/NAME``, or with the first free number behind it."""
    check_name(name)
    check_output(output)
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


def has_begun(folder: Path) -> bool:
    """Whether a run that can be gone on with lies in ``folder``.

    A run that ended before it saved anything is put aside, as ``FOLDER.unsaved-1``, so that its name is free.
    Raises LockedError where a process works in it, and ConfigError where the folder is no run.
    """
    if not folder.exists():
        return False
    if any((folder / "checkpoints").glob("step-*")):
        return True
    if any(folder.iterdir()) and not (folder / ".lock").exists():
        raise ConfigError(f"{folder} is not a run of gptmodel: give another --experiment-name")
    with files.Lock(folder) as lock:
        if not lock.is_held:
            raise LockedError(
                f"{folder} has saved nothing, and its file system has no locks that would say whether a "
                "process works in it: end that process or move the folder away, or give another "
                "--experiment-name"
            )
        number = next(n for n in itertools.count(1) if not _unsaved(folder, n).exists())
        folder.rename(_unsaved(folder, number))
    print(f"note      {folder} had saved nothing and is {_unsaved(folder, number)} now", file=sys.stderr)
    return False


def _unsaved(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}.unsaved-{number}")


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
