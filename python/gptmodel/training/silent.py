"""What ranks other than the first have in place of log, progress and writer: nothing is written twice."""

from __future__ import annotations

import io
from types import TracebackType
from typing import Self

from gptmodel.checkpoint import Snapshot, Writer
from gptmodel.training.log import Progress, RunLog

__all__ = ["SilentLog", "SilentProgress", "SilentWriter"]


class SilentLog(RunLog):
    """Records nothing. What is in the run's record is the first rank's to read."""

    failure = None

    def __init__(self) -> None:
        """Open nothing."""

    def scalars(self, kind: str, step: int, values: dict[str, float | int | None]) -> None:
        pass

    def sample(self, step: int, text: str) -> None:
        pass

    def text(self, name: str, text: str, step: int = 0) -> None:
        pass

    def evaluation_loss(self, step: int) -> float | None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class SilentProgress(Progress):
    """Says nothing."""

    def __init__(self) -> None:
        super().__init__(0, stream=io.StringIO())

    def step(self, done: int, values: dict[str, str]) -> None:
        pass

    def say(self, text: str) -> None:
        pass


class SilentWriter(Writer):
    """Saves nothing."""

    def __init__(self) -> None:
        """Start no thread."""

    def save(self, snapshot: Snapshot) -> None:
        pass

    def record_evaluation(self, step: int, loss: float) -> None:
        pass

    def check(self) -> None:
        pass

    def join(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
