"""How the threads of a step wait for one another, decided before torch is loaded.

OpenMP's threads spin while they wait, which is fastest where each has a core to itself. On a computer that is
busy with other things a spinning thread keeps its core from the one it waits for: at a load of 9 on two cores
the preset tiny trained at 242 tokens/s, and at 1,200 to 2,400 with threads that sleep. On a quiet one the
difference is within the noise. Nothing that is computed depends on it.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["sleep_while_waiting", "wait_politely"]

BUSY = 0.5
"""Of the cores, as the system's load average of the last minute."""

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def sleep_while_waiting() -> bool:
    """Whether the threads of this process sleep while they wait, by this module's choice or the user's."""
    return os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"


def wait_politely(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads sleep while they wait if the computer is busy now and nobody said otherwise."""
    if any(name in environment for name in SETTINGS) or not hasattr(os, "getloadavg"):
        return
    try:
        load = os.getloadavg()[0]
    except OSError:
        return
    if load > BUSY * (os.cpu_count() or 1):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
