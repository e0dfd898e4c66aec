"""Files to ids, a batch at a time: while one is encoded, the next is read and the one before is written.

Threads live inside a call only: nothing is left behind by an iterator that is put away, and a process may
fork between two batches. The caller's own thread encodes, because Python hears Ctrl-C on the main thread
alone: it looks for signals while it works, and waits for the others where a signal wakes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, ParamSpec, TypeVar

from gptbpe import sources
from gptbpe._core import CoreTokenizer, DocumentBatch, DocumentBuffer, EncodedBatch
from gptbpe.files import Name
from gptbpe.types import Names

__all__ = ["Task", "encoded"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Task(Generic[Result]):
    """A call in a thread of its own, which has begun."""

    def __init__(
        self, call: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
    ) -> None:
        self._result: Result
        self._error: BaseException | None = None
        self._done = threading.Event()

        def run() -> None:
            try:
                self._result = call(*arguments, **options)
            except BaseException as error:
                self._error = error
            finally:
                self._done.set()

        self._thread = threading.Thread(target=run, name="gptbpe", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            # An interruption may come when the thread is there already.
            self._done.wait(0.1)
            if self._thread.is_alive():
                self.wait()
            raise

    def wait(self) -> None:
        """Wait for the end of the call, whatever it was."""
        # With a time, because on Windows no signal is heard before a wait ends.
        while not self._done.wait(0.1):
            pass
        self._thread.join()

    def result(self) -> Result:
        """Wait for the result of the call, or raise what it raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._result


class _Stopped(Exception):  # noqa: N818 - nobody sees it
    """Ends the reading of a batch that is not wanted any more."""


def encoded(
    core: CoreTokenizer,
    files: Iterable[Name],
    *,
    separator: str | None,
    text_field: str = "text",
    as_text: bool = False,
    batch_bytes: int = sources.BATCH_BYTES,
    allowed_special: Names = (),
    threads: int | None = None,
    skip: int = 0,
    report: Callable[[int], None] = lambda _: None,
    check: Callable[[DocumentBatch], None] = lambda _: None,
) -> Iterator[EncodedBatch]:
    """Yield the ids of all documents in files, without the first ``skip`` documents.

    Files are read as their names say, or as plain text (``as_text``), by :func:`gptbpe.sources.batches`.
    ``report`` is called, on this thread, with numbers of bytes that were read; ``check`` with each batch
    before it is encoded.
    """
    files = list(files)
    mark = None if separator is None else separator.encode()
    buffer = DocumentBuffer(mark, batch_bytes, core, allowed_special, skip)
    read = 0
    stopped = False

    def note(count: int) -> None:
        nonlocal read
        read += count
        if stopped:
            raise _Stopped

    batches = sources.batches(files, buffer, text_field=text_field, as_text=as_text, report=note)

    def following() -> DocumentBatch | None:
        return next(batches, None)

    # A pipe may let us wait for ever, which only the main thread can be called away from.
    ahead = sources.are_regular(files)
    reported = 0
    batch = following()
    while batch is not None:
        check(batch)
        reading = Task(following) if ahead else None
        try:
            ids = batch.encode(core, allowed_special, threads)
            batch = following() if reading is None else reading.result()
        except BaseException:
            stopped = True
            if reading is not None:
                reading.wait()
            raise
        if read > reported:
            report(read - reported)
            reported = read
        yield ids
        del ids
    if read > reported:
        report(read - reported)
