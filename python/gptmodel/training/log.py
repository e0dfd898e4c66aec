"""What a run says about itself: ``metrics.jsonl``, TensorBoard, ``samples.txt`` and the line that moves.

``metrics.jsonl`` is the record and everything else a view of it: one JSON object a line, appended and
flushed, so a crash costs at most the line being written, which the reader passes over. A resumed run cuts
what lies after its checkpoint, so that no step appears twice.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

from gptmodel import files
from gptmodel.parse import parse_json
from gptmodel.training.loggers import Logger, TensorBoard

__all__ = ["METRICS", "Progress", "RunLog", "read_metrics"]

METRICS = "metrics.jsonl"
SAMPLES = "samples.txt"
BAR_COLUMNS = 10


def read_metrics(run: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Every whole line of a run's ``metrics.jsonl``. Lines that a crash left torn are passed over."""
    path = Path(run) / METRICS
    lines = []
    for line in path.read_bytes().splitlines():
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            lines.append(record)
    return lines


class RunLog:
    """Writes a run's records; a context manager.

    ``resumed_at`` is the number of steps already done. ``loggers`` are told the same; left out: TensorBoard.

    A disk that refuses a record is no reason to lose what was trained since the last checkpoint: nothing is
    raised, ``failure`` says what happened, and the loop saves and stops.
    """

    def __init__(self, run: Path, *, resumed_at: int = 0, loggers: Sequence[Logger] | None = None) -> None:
        self.run = run
        self.failure: str | None = None
        if resumed_at:
            _cut_after(run, resumed_at)
        self._file = (run / METRICS).open("a", encoding="utf-8")
        self._loggers = [TensorBoard(run, resumed_at)] if loggers is None else list(loggers)

    def scalars(self, kind: str, step: int, values: dict[str, float | int | None]) -> None:
        """One line of ``metrics.jsonl``, and points of the loggers' curves.

        JSON has no infinity: what is not finite, as a gradient that fp16 skipped, is null.
        """
        known = {k: v if math.isfinite(v) else None for k, v in values.items() if v is not None}
        line = {"kind": kind, "step": step, "time": round(time.time(), 3), **known}
        with self._noting(METRICS):
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
            for logger in self._loggers:
                logger.scalars(kind, step, known)

    def sample(self, step: int, text: str) -> None:
        """A text that the model wrote, to ``samples.txt`` and the loggers."""
        with self._noting(SAMPLES):
            with (self.run / SAMPLES).open("a", encoding="utf-8") as file:
                file.write(f"=== step {step} ===\n{text}\n\n")
            self.text("sample", text, step)

    def text(self, name: str, text: str, step: int = 0) -> None:
        """A text for the loggers alone, such as the configuration."""
        with self._noting(name):
            for logger in self._loggers:
                logger.text(name, text, step)

    def evaluation_loss(self, step: int) -> float | None:
        """The held-out loss that was recorded for ``step``, if one was."""
        return next(
            (
                float(record["loss"])
                for record in reversed(read_metrics(self.run))
                if record["step"] == step and record.get("kind") == "evaluation"
            ),
            None,
        )

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """An OSError inside becomes ``failure``."""
        try:
            yield
        except OSError as error:
            self.failure = self.failure or f"{self.run / name} cannot be written: {error.strerror or error}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for close in (self._file.close, *(logger.close for logger in self._loggers)):
            with self._noting(METRICS):
                close()


def _cut_after(run: Path, step: int) -> None:
    """Drop the records of steps that a resumed run will do again."""
    path = run / METRICS
    if not path.exists():
        return
    kept = [record for record in read_metrics(run) if record["step"] <= step]
    files.write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


class Progress:
    """The line that moves: a bar on a terminal, a plain line every ``seconds`` elsewhere (logs of SLURM or
    CI).
    """

    def __init__(
        self, total: int, done: int = 0, *, stream: TextIO | None = None, seconds: float = 10.0
    ) -> None:
        self.total, self.stream, self.seconds = total, stream or sys.stderr, seconds
        self._moves = self.stream.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="step",
            file=self.stream,
            dynamic_ncols=True,
            disable=not self._moves,
            bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )
        self._said, self._started, self._first = time.monotonic(), time.monotonic(), done

    def step(self, done: int, values: dict[str, str]) -> None:
        """``done`` steps are done; ``values`` are shown behind the bar."""
        if self._moves:
            with suppress(OSError):
                self._bar.set_postfix_str(self._fitting(values), refresh=False)
                self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._said >= self.seconds or done == self.total:
            self._said = now
            left = (now - self._started) / max(1, done - self._first) * (self.total - done)
            shown = "  ".join(f"{name} {value}" for name, value in values.items())
            self.say(f"step {done}/{self.total}  {shown}  ETA {_clock(left)}")

    def doing(self, what: str) -> None:
        """What goes on instead of steps, such as an evaluation: shown until the next step."""
        if self._moves:
            with suppress(OSError):
                self._bar.set_postfix_str(what)

    def _fitting(self, values: dict[str, str]) -> str:
        """As many of the values, the first ones first, as leave the bar ten columns."""
        columns = shutil.get_terminal_size((80, 24)).columns
        room = columns - len("100%||  [00:00:00<00:00:00, ]") - BAR_COLUMNS - 2 * len(str(self.total)) - 1
        shown = ""
        for name, value in values.items():
            longer = f"{shown}, {name} {value}" if shown else f"{name} {value}"
            if len(longer) > room:
                break
            shown = longer
        return shown

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        with suppress(OSError):  # nobody listening, or a full log, is no reason to end a run
            if self._moves:
                self._bar.write(text, file=self.stream)
            else:
                print(text, file=self.stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.doing("")
        self._bar.close()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
