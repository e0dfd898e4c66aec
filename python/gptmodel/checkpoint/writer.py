"""Checkpoints written in the background, one at a time and in order, while training goes on.

A `Snapshot` has memory of its own, so the next step may begin at once. At most one checkpoint is in memory:
to save while the last one is still being written waits for it. What went wrong in the background is raised at
the next call of any method, so a run stops within a step of a disk that refuses.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gptmodel import files
from gptmodel.checkpoint import store
from gptmodel.checkpoint.format import Snapshot, read, record_evaluation
from gptmodel.errors import CheckpointError

__all__ = ["Writer"]


class Writer:
    """Saves the checkpoints of ``run`` and keeps the newest ``keep`` of them; a context manager.

    ``record`` is the file to which each step was written before its checkpoint is saved. It is flushed first:
    after a power cut, a checkpoint that is there has its record, too.

    To leave it waits for what is being written; after an exception, without raising another one.
    """

    def __init__(self, run: Path, keep: int, record: Path | None = None) -> None:
        self.run, self.keep, self.record = run, keep, record
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._pending: list[Future[Any]] = []

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write ``snapshot``. Raises CheckpointError when the one before could not be written."""
        self.join()
        self._pending.append(self._thread.submit(self._save, snapshot))

    def record_evaluation(self, step: int, loss: float) -> None:
        """Note the held-out loss of the weights of ``step`` in their checkpoint, when that is written."""
        self.check()
        self._pending.append(self._thread.submit(self._record, step, loss))

    def check(self) -> None:
        """Raise what went wrong with a checkpoint that is no longer being written."""
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()

    def join(self) -> None:
        """Wait until everything is on the disk. Raises CheckpointError when something could not be."""
        while self._pending:
            self._pending.pop(0).result()

    def _save(self, snapshot: Snapshot) -> None:
        self._flush_record(snapshot.step)
        store.save(self.run, snapshot)
        store.prune(self.run, self.keep)

    def _record(self, step: int, loss: float) -> None:
        self._flush_record(step)
        record_evaluation(read(store.path_of(self.run, step)), loss)

    def _flush_record(self, step: int) -> None:
        if self.record is None or not self.record.exists():
            return
        try:
            files.flush(self.record)
        except OSError as error:
            raise CheckpointError(
                f"could not save step {step}: {self.record} cannot be flushed: {error.strerror or error}; "
                "earlier checkpoints are as they were"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.join()
        finally:
            self._thread.shutdown(wait=True)
