"""Files to ids, a batch at a time, by several threads that each read a batch and encode it.

A thread takes the next batch when it is free, so none waits for another, and encodes what it has just read.
Threads live inside a call only: nothing is left behind by an iterator that is put away, and a process may
fork between two batches. So batches come in groups: the threads of a group end before its first batch is
given out. A group is many batches, because threads wait for the last one at its end.

Whoever wants to write what comes out need not wait for the end of a group: :func:`each` passes batches on
in their order, on the thread that has just encoded one, while its ids are still in the cache.

The caller's own thread is one of them, because Python hears Ctrl-C on the main thread alone: it looks for
signals while it works, and waits for the others where a signal wakes it.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from gptbpe import sources
from gptbpe._core import Cancel, CoreTokenizer, DocumentBatch, DocumentBuffer, EncodedBatch, thread_count
from gptbpe.files import Name

__all__ = ["Task", "each", "encoded", "groups", "whole_documents"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Task(Generic[Result]):
    """A call in a thread of its own, which has begun.

    Ctrl-C may come between any two steps of the caller. The classes of ``threading`` are written in Python,
    so an interruption can leave an ``Event`` or a ``Semaphore`` with its inner lock taken for ever: neither
    is used here. A plain lock is taken in one step, and whether the call is done is a flag of its own.
    """

    def __init__(
        self, call: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
    ) -> None:
        self._result: Result
        self._error: BaseException | None = None
        self._done = False
        self._running = _thread.allocate_lock()

        def run() -> None:
            try:
                self._result = call(*arguments, **options)
            except BaseException as error:
                self._error = error
            finally:
                self._done = True
                self._running.release()

        self._running.acquire()
        try:
            _thread.start_new_thread(run, ())
        except RuntimeError:  # there are too many threads
            raise
        except BaseException:  # an interruption is heard when the call has returned: the thread is there
            self.wait()
            raise

    def wait(self) -> None:
        """Wait for the end of the call, whatever it was."""
        while not self._done:
            # With a time, because on Windows no signal is heard before a wait ends.
            self._running.acquire(timeout=0.1)

    @property
    def done(self) -> bool:
        """Whether the call has ended, however it ended."""
        return self._done

    def result(self) -> Result:
        """Wait for the result of the call, or raise what it raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._result


GROUP_BYTES = 64 << 20
"""A group is about this much text at most."""
BATCHES_PER_THREAD = 8
"""And so many batches for each thread, of which it waits for about half of one at the end."""
PASSED_ON = 4
"""So many times as many where batches are passed on: only those that wait for their turn are in memory."""


class _Stopped(Exception):  # noqa: N818 - nobody sees it
    """Ends the reading of a batch that is not wanted any more."""


class _Group:
    """The next batches of all, which several threads take and encode; not more than ``most``.

    With ``sink`` they go there in their order as soon as they are there, from one thread at a time.
    """

    def __init__(
        self,
        batches: Iterator[DocumentBatch],
        encode: Callable[[DocumentBatch], EncodedBatch],
        most: int,
        sink: Callable[[EncodedBatch], None] | None,
    ) -> None:
        self._batches = batches
        self._encode = encode
        self._most = most
        self._sink = sink
        self._passing = threading.Lock()
        self._passed = 0
        self._torn = False
        self._reading = threading.Lock()
        self._taken = 0
        self._ended = False
        self._results: dict[int, EncodedBatch | Exception] = {}
        self.is_last = False

    def work(self) -> None:
        """Take batches and encode them until there are no more to take."""
        while (batch := self._take()) is not None:
            number, documents = batch
            try:
                self._results[number] = self._encode(documents)
            except Exception as error:
                self._results[number] = error
                self._ended = True  # what follows an error is not wanted
            if self._sink is not None:
                self._pass_on(self._sink)

    def _pass_on(self, sink: Callable[[EncodedBatch], None]) -> None:
        """Give the sink the batches whose turn it is, unless another thread is doing so."""
        if not self._passing.acquire(blocking=False):
            return
        try:
            # Where the sink failed or was interrupted nobody knows what it has, and nothing more goes there.
            while not self._torn and isinstance(batch := self._results.get(self._passed), EncodedBatch):
                self._torn = True
                sink(batch)
                del self._results[self._passed]
                self._passed += 1
                self._torn = False
        finally:
            self._ended |= self._torn
            self._passing.release()

    def _take(self) -> tuple[int, DocumentBatch] | None:
        with self._reading:
            if self._ended or self._taken == self._most:
                return None
            number = self._taken
            self._taken += 1
            try:
                batch = next(self._batches, None)
            except Exception as error:
                self._results[number] = error
                batch = None
            if batch is None:
                self._ended = self.is_last = True
                return None
            return number, batch

    def results(self) -> tuple[list[EncodedBatch], Exception | None]:
        """Return what was encoded before the first error and did not go to the sink, and that error."""
        if self._sink is not None:
            self._pass_on(self._sink)
        results, self._results = self._results, {}
        done: list[EncodedBatch] = []
        for _, result in sorted(results.items()):
            if isinstance(result, Exception):
                return done, result
            done.append(result)
        return done, None


def encoded(
    core: CoreTokenizer,
    files: Iterable[Name],
    *,
    separator: str | None,
    text_field: str = "text",
    batch_bytes: int = sources.BATCH_BYTES,
    threads: int | None = None,
) -> Iterator[EncodedBatch]:
    """Yield the ids of all documents in files, a batch at a time; see :func:`groups`."""
    for group in groups(
        core, files, separator=separator, text_field=text_field, batch_bytes=batch_bytes, threads=threads
    ):
        group.reverse()
        while group:
            yield group.pop()


def groups(
    core: CoreTokenizer,
    files: Iterable[sources.Input],
    *,
    separator: str | None,
    text_field: str = "text",
    batch_bytes: int = sources.BATCH_BYTES,
    threads: int | None = None,
    skip: int = 0,
    report: Callable[[int], None] = lambda _: None,
    check: Callable[[DocumentBatch], None] = lambda _: None,
) -> Iterator[list[EncodedBatch]]:
    """Yield the ids of all documents in files, without the first ``skip`` documents, in groups of batches.

    Files are read by :func:`gptbpe.sources.batches`. ``report`` is called, on this thread, with numbers of
    bytes that were read; ``check``, on any thread, with each batch before it is encoded.
    """
    options = _Options(separator, text_field, batch_bytes, threads, skip, report, check)
    for group in _groups(core, list(files), options, None):
        done, error = group.results()
        del group
        if done:
            yield done
        if error is not None:
            raise error


def each(
    core: CoreTokenizer,
    files: Iterable[sources.Input],
    sink: Callable[[EncodedBatch], None],
    *,
    separator: str | None,
    text_field: str = "text",
    batch_bytes: int = sources.BATCH_BYTES,
    threads: int | None = None,
    skip: int = 0,
    report: Callable[[int], None] = lambda _: None,
    check: Callable[[DocumentBatch], None] = lambda _: None,
) -> None:
    """Call ``sink`` with the ids of all documents in files, a batch at a time, in their order.

    It is called on any thread, but on one at a time; other threads encode meanwhile. After an error or an
    interruption it is not called again: it had all batches before, and perhaps the one it was called with.
    What else is needed is said by :func:`groups`.
    """
    options = _Options(separator, text_field, batch_bytes, threads, skip, report, check)
    for group in _groups(core, list(files), options, sink):
        _, error = group.results()
        if error is not None:
            raise error


class _Options(NamedTuple):
    separator: str | None
    text_field: str
    batch_bytes: int
    threads: int | None
    skip: int
    report: Callable[[int], None]
    check: Callable[[DocumentBatch], None]


def _groups(
    core: CoreTokenizer,
    files: list[sources.Input],
    options: _Options,
    sink: Callable[[EncodedBatch], None] | None,
) -> Iterator[_Group]:
    """Yield groups on which all work is done."""
    separator, text_field, batch_bytes, threads, skip, report, check = options
    count = thread_count(threads)
    mark = None if separator is None else separator.encode()
    buffer = DocumentBuffer(mark, batch_bytes, core, (), skip)
    cancel = Cancel()
    read = reported = 0

    def note(count: int) -> None:
        nonlocal read
        read += count
        if cancel.is_set:
            raise _Stopped

    # A pipe may let us wait for ever, which only the main thread can be called away from: it reads alone, and
    # each batch is shared by the threads.
    alone = not sources.are_regular(files)
    usual = BATCHES_PER_THREAD * count * (1 if sink is None else PASSED_ON)
    most = 1 if alone else max(2, min(usual, GROUP_BYTES // max(batch_bytes, 1)))
    # With one thread for encoding there is another, so that the next batch is read meanwhile.
    helpers = min(max(count - 1, 1), most - 1)
    encoding = threading.Lock() if count == 1 else nullcontext()

    def encode(batch: DocumentBatch) -> EncodedBatch:
        check(batch)
        with encoding:
            return batch.encode(core, (), count if alone else 1, cancel)

    batches = sources.batches(files, buffer, text_field=text_field, report=note)
    is_last = False
    while not is_last:
        group = _Group(batches, encode, most, sink)
        _work_together(group, helpers, cancel)
        if read > reported:
            report(read - reported)
            reported = read
        is_last = group.is_last
        yield group
        del group


def _work_together(group: _Group, helpers: int, cancel: Cancel) -> None:
    """Work on a group with so many threads besides this one."""
    tasks: list[Task[None]] = []
    try:
        for _ in range(helpers):
            try:
                tasks.append(Task(group.work))
            except RuntimeError:
                break  # the system has no more threads: those that there are do all the work
        group.work()
        for task in tasks:
            task.result()
    except BaseException:
        cancel.set()
        for task in tasks:
            task.wait()
        raise


def whole_documents(
    batches: Iterable[EncodedBatch],
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
    """Join the documents that come in parts; each of them is a batch of its own."""
    parts: list[npt.NDArray[Any]] = []
    for batch in batches:
        ids, offsets = batch.take_arrays()
        first, last = 0, len(offsets) - 1
        if batch.continues:
            parts.append(ids[: offsets[1]])
            first = 1
            if last > 1 or not batch.open:
                whole = np.concatenate(parts)
                parts = []
                yield whole, np.array([0, len(whole)])
        if batch.open and first < last:
            last -= 1
            parts = [ids[offsets[last] :].copy()]
        if first < last:
            yield ids[offsets[first] : offsets[last]], offsets[first : last + 1] - offsets[first]
