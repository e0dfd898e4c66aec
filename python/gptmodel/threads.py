"""How the threads of a step wait for one another, measured and decided before torch is loaded.

OpenMP's threads spin while they wait. That is fastest where each has a core to itself: the preset tiny
takes 245 ms a step on two free cores, and 310 ms with threads that sleep. On a busy computer a spinning
thread keeps its core from the thread that it waits for: 840 ms beside one other program, against 485 ms
with threads that sleep. OpenMP decides once, when it is loaded. So, just before that, as many threads as it
would start compute for 40 ms, and their mean share of a core decides. The load average would notice other
programs a minute too late.

Fewer threads were tried and are no better (``benches/LOG.md``). Nothing that is computed depends on the
choice.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import zlib
from collections.abc import Callable, MutableMapping

__all__ = ["share_found", "share_of_a_core", "sleep_while_waiting", "wait_politely"]

ENOUGH = 0.8
"""The mean share of a core from which threads may spin. On two cores it is 0.98 or more alone, and 0.5 beside
one other program."""

SECONDS = 0.04

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


_found: list[float] = []
"""What was measured in this process, at most once."""


def share_found() -> float | None:
    """The share of a core that each thread had when the program started, or None if it was not measured."""
    return _found[0] if _found else None


def sleep_while_waiting() -> bool:
    """Whether the threads of this process sleep while they wait, by this module's choice or the user's."""
    return os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"


def wait_politely(
    environment: MutableMapping[str, str] = os.environ, measure: Callable[[int], float] | None = None
) -> None:
    """Let OpenMP's threads sleep while they wait if the computer is busy now and nobody said otherwise.

    ``measure`` takes the number of threads and returns the share of a core that each had. Once torch is
    loaded nothing is measured or changed: it would have no effect.
    """
    count = _threads(environment)
    if count == 1 or "torch" in sys.modules or any(name in environment for name in SETTINGS):
        return
    _found[:] = [(measure or share_of_a_core)(count)]
    if _found[0] < ENOUGH:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


def share_of_a_core(count: int, seconds: float = SECONDS) -> float:
    """Let ``count`` threads compute for ``seconds``; return their mean share of a core."""
    block = bytes(1 << 18)  # of this size zlib lets go of the interpreter's lock
    shares: list[float] = []
    start = threading.Barrier(count)

    def compute() -> None:
        start.wait()
        began, used = time.perf_counter(), time.thread_time()
        while time.perf_counter() - began < seconds:
            zlib.crc32(block)
        shares.append((time.thread_time() - used) / (time.perf_counter() - began))

    threads = [threading.Thread(target=compute) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(shares) / count


def _threads(environment: MutableMapping[str, str]) -> int:
    """The threads that OpenMP would start: OMP_NUM_THREADS, or one for each core this process may use."""
    told = environment.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
