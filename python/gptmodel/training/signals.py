"""Being asked to save or to stop while a run goes on.

The first Ctrl-C or SIGTERM lets the step in progress end, saves and stops; a second one stops at once.
SIGHUP, which comes when a terminal is closed, does as SIGTERM. SIGUSR1 saves and goes on, which is what a
batch system sends ahead of its time limit.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Requests"]


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
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = self._on_stop
        if hasattr(signal, "SIGUSR1"):
            handlers[signal.SIGUSR1] = self._on_save
        return handlers

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True
