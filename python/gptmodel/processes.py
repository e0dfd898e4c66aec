"""Which of several processes this one is, as ``torchrun`` says in the environment, and how it ends.

What the processes tell each other is `gptmodel.training.distributed`. This file imports no torch: a command
line that is wrong is answered without it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

__all__ = ["Place", "leave", "place"]


@dataclass(frozen=True)
class Place:
    """The place of this process among ``size`` that train together; ``Place()`` is a process alone.

    ``rank`` counts over all machines, ``local_rank`` on this machine, ``machine`` the machines.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    machine: int = 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this process logs, samples, saves and prints."""
        return self.rank == 0


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """What ``torchrun`` says about this process; a process alone where it says nothing.

    >>> place({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    ...        "GROUP_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"})
    Place(rank=3, size=4, local_rank=1, local_size=2, machine=1)
    """
    if any(name not in environment for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")):
        return Place()
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    if size == 1:
        return Place()
    local_size = int(environment.get("LOCAL_WORLD_SIZE", size))
    return Place(
        rank=rank,
        size=size,
        local_rank=int(environment.get("LOCAL_RANK", rank % local_size)),
        local_size=local_size,
        machine=int(environment.get("GROUP_RANK", rank // local_size)),
    )


def leave(code: int) -> NoReturn:
    """End this process with an exit code; one of several ends at once, without tearing the interpreter down.

    Threads of Gloo, which DDP and FSDP2 keep alive, may free tensors at that time, and that aborts the
    process (https://github.com/pytorch/pytorch/pull/179291). A script of your own that ``torchrun`` starts
    ends well with ``leave(0)``. Functions registered with ``atexit`` do not run in one of several processes.
    """
    if place().alone:
        sys.exit(code)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
            stream.flush()
    os._exit(code)
