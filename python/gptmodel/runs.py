"""Run folders: naming a new one, finding one to resume, and being asked to stop.

A run lies in ``OUTPUT/NAME``. A new run never writes into an old one: the name gets a number until it is
free. The first Ctrl-C (or SIGTERM) lets the step in progress end, saves and stops; a second one stops at
once. SIGUSR1 saves and goes on, which is what a batch system sends ahead of its time limit.
"""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from gptmodel.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from gptmodel.config import Config

__all__ = ["Requests", "check_resumable", "find", "new", "resume_command"]

MAY_CHANGE = frozenset(
    f"{table}.{name}"
    for table, names in {
        "train": (
            "epochs max_steps max_tokens micro_batch_size device compile output experiment_name log_every "
            "eval_every eval_batches sample_every sample_prompt sample_tokens"
        ),
        "data": "num_workers shards train_data eval_data tokenizer vocab",
        "model": "attention",
        "checkpoint": "save_every save_every_epochs keep",
    }.items()
    for name in names.split()
)
"""Settings that do not decide which weights come out, or that are compared by content (the data's
fingerprint).
"""


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


def check_resumable(was: Config, now: Config, state: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings, another tokenizer or other data. Raises CheckpointError naming the
    first.
    """
    before, after = was.flat(), now.flat()
    for key in before:
        if key not in MAY_CHANGE and before[key] != after.get(key):
            raise CheckpointError(
                f"the run was started with {key} = {before[key]!r}, now it is {after.get(key)!r}: "
                "leave it as it was, or start a new run (--init-from takes over the weights)"
            )
    for key in ("tokenizer", "data"):
        if state.get(key) != data.get(key):
            raise CheckpointError(
                f"the run was trained with another {'tokenizer' if key == 'tokenizer' else 'text or shards'} "
                f"({key} {_short(state.get(key))}, now {_short(data.get(key))}): resume needs the same"
            )


def _short(fingerprint: Any) -> str:
    return str(fingerprint)[:12]


class Requests:
    """Notes signals while a run is going on; a context manager. Outside the main thread it notes nothing."""

    def __init__(self) -> None:
        self.stop = False
        self.save = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers().items():
                self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handlers(self) -> dict[int, Any]:
        handlers: dict[int, Any] = {signal.SIGINT: self._on_stop, signal.SIGTERM: self._on_stop}
        if hasattr(signal, "SIGUSR1"):
            handlers[signal.SIGUSR1] = self._on_save
        return handlers

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True
