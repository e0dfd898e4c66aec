"""Being asked to save or to stop while a run goes on.

The first Ctrl-C or SIGTERM lets the step in progress end, saves and stops; a second one stops at once.
SIGHUP, which comes when a terminal is closed, does as SIGTERM. SIGUSR1 saves and goes on, which is what a
batch system sends ahead of its time limit.

Of several ranks each notes its own signals, and they agree after every step: what one was asked, all do, at
the same step. torchrun passes on to each process what the terminal has sent to it already, so there a second
signal is a second request only when it comes `ECHO_SECONDS` after the first.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from gptmodel.training.distributed import Ranks

__all__ = ["Requests"]


ECHO_SECONDS = 1.0


class Requests:
    """Notes signals while a run is going on; a context manager. Outside the main thread it notes nothing.

    ``stop`` and ``save`` are what the ranks had agreed on at the last `agree`.
    """

    def __init__(self, ranks: Ranks | None = None) -> None:
        self.stop = False
        self.save = False
        self._ranks = ranks or Ranks()
        self._stop, self._save, self._stopped_at = False, False, 0.0
        self._before: dict[int, Any] = {}

    def ask_to_stop(self) -> None:
        """Ask as a signal would: the ranks save and stop after this step."""
        self._stop, self._stopped_at = True, time.monotonic()

    def agree(self) -> Self:
        """Take up what was asked of any rank since; every rank must call this at the same place."""
        save = self._save
        stop, all_save = self._ranks.any(self._stop, save)
        if save:
            self._save = False
        self.stop, self.save = self.stop or stop, self.save or all_save
        return self

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
        if self._stop:
            if self._ranks.alone or time.monotonic() - self._stopped_at > ECHO_SECONDS:
                raise KeyboardInterrupt
            return
        self.ask_to_stop()

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self._save = True
