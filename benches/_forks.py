"""Measuring in a copy of this process, which has what the work needs and nothing of other work.

What the work takes cannot hurt the measurements after it: not the memory it leaves, nor that it takes too
long, nor that it crashes.
"""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass

LONGEST_S = 120
"""A measurement that takes longer is given up."""


@dataclass(frozen=True)
class Measured:
    """One piece of work, done once."""

    seconds: float
    peak: int
    """Bytes of memory more than before, at most."""


class FailedError(Exception):
    """The process of a measurement ended without a result."""


def in_a_fork(work: Callable[[], Measured]) -> Measured:
    """Return what ``work`` returns in a copy of this process."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's threads are idle
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LONGEST_S)
            with os.fdopen(writer, "w") as answers:
                try:
                    json.dump(asdict(work()), answers)
                    status = 0
                except BaseException as error:
                    json.dump(f"{type(error).__name__}: {error}", answers)
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as answers:
        answer = answers.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        raise FailedError(f"more than {LONGEST_S} s")
    if status != 0:
        raise FailedError(json.loads(answer) if answer else f"wait status {status}")
    return Measured(**json.loads(answer))
