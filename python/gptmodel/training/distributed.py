"""Several processes that train one model: which of them this is, and what they tell each other.

``torchrun`` starts the processes and gives each a rank. What the ranks agree on (sums, requests to stop, the
run's folder) goes through one process group: gloo for tensors on the CPU, NCCL for tensors on CUDA. Requests
travel as CPU tensors, so asking every step whether somebody wants to stop never waits for the card, and a
process that has died is noticed there, as a broken connection, even while NCCL would wait.

A process that finds another one gone raises LostRankError. Messages that several ranks would print in the
same words are printed by the first that has something to say.

Without ``torchrun``, or with one process, nothing here communicates and nothing is initialized.
"""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store, _get_default_store

from gptmodel import errors
from gptmodel.device import pick_device
from gptmodel.errors import ConfigError, GptModelError, InterruptedRunError, LostRankError, SaidElsewhereError
from gptmodel.processes import Place, leave, place

__all__ = ["Ranks", "from_environment", "join", "leave"]

TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for the others within one step. The first one may have to wait for a slow disk."""

PREPARING = timedelta(days=1)
"""How long a rank waits until another one of its machine has tokenized the text."""


@dataclass(frozen=True)
class Ranks(Place):
    """The place of this process among ``size`` that train together, and how it speaks with the others.

    ``Ranks()`` is a process alone.
    """

    # --- what belongs to this rank ---

    def rows(self, batch_size: int) -> slice:
        """The rows of the global batch that this rank computes. Raises ConfigError where they do not divide.

        >>> Ranks(rank=1, size=4).rows(8)
        slice(2, 4, None)
        """
        if batch_size % self.size:
            lower = batch_size // self.size * self.size
            near = f"{lower} or {lower + self.size}" if lower else f"{self.size}"
            raise ConfigError(
                f"--batch-size {batch_size} cannot be divided among {self.size} processes: take {near}"
            )
        share = batch_size // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def device(self, name: str) -> torch.device:
        """The device of this rank: ``cuda:LOCAL_RANK``, or the CPU, which all share.

        Raises ConfigError when there are fewer cards than processes, or when one card is named for all.
        """
        if self.alone:
            return pick_device(name)
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu":
            return pick_device(name)
        if name != "cuda":
            raise ConfigError(
                f"--device {name} with {self.size} processes: each has a card of its own, say --device cuda "
                "(CUDA_VISIBLE_DEVICES chooses which), or cpu"
            )
        cards = torch.cuda.device_count()
        if cards < self.local_size:
            raise ConfigError(
                f"{self.local_size} processes on a machine with {cards} CUDA devices: "
                f"start torchrun with --nproc-per-node {max(1, cards)}, or give --device cpu"
            )
        device = pick_device(f"cuda:{self.local_rank}")
        torch.cuda.set_device(device)
        return device

    def command(self, command: str) -> str:
        """``gptmodel train …`` as it is typed for as many processes as there are now."""
        if self.alone:
            return command
        machines = self.size // self.local_size
        many = f"--nnodes {machines} …" if machines > 1 else "--standalone"
        start = f"torchrun {many} --nproc-per-node {self.local_size} -m gptmodel.train"
        return command.replace("gptmodel train", start, 1)

    # --- what the ranks tell each other; every rank must call these in the same order ---

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of the ranks' tensors, on every rank; ``tensor`` itself where there is only one."""
        if not self.alone:
            tensor = tensor.detach().clone()
            dist.all_reduce(tensor)
        return tensor

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set on any rank."""
        if self.alone:
            return flags
        asked = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in asked)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.any(False)

    def from_first(self, work: Callable[[], Any]) -> Any:
        """What ``work`` returns on the first rank, on every rank; it runs there alone.

        The value must be plain JSON. A GptModelError that it raises is raised on every rank.
        """
        if self.alone:
            return work()
        if not self.first:
            answer = json.loads(_broadcast(b""))
            if "error" in answer:
                raise getattr(errors, answer["kind"])(answer["error"])
            return answer["value"]
        try:
            value = work()
        except GptModelError as error:
            _broadcast(json.dumps({"error": str(error), "kind": type(error).__name__}).encode())
            raise
        return json.loads(_broadcast(json.dumps({"value": value}).encode()))["value"]

    @contextmanager
    def first_of_machine_first(self, what: str) -> Iterator[None]:
        """The first rank of each machine does what is inside, then the others, who find its files made.

        ``what`` names the work, once in a run. To wait may take hours, which a collective would not bear.
        """
        if self.alone:
            yield
            return
        store, key = _store(), f"gptmodel/{what}/{self.machine}"
        if self.local_rank:
            for _ in range(int(PREPARING.total_seconds())):
                with suppress(dist.DistStoreError):  # it has waited its second: look whether Ctrl-C was hit
                    store.wait([key], timedelta(seconds=1))
                    break
        try:
            yield
        finally:
            if not self.local_rank:
                store.set(key, "done")

    def speaking(self) -> AbstractContextManager[Any]:
        """Inside, only the first rank writes to standard error."""
        return nullcontext() if self.first else redirect_stderr(io.StringIO())

    @contextmanager
    def watching(self, advice: str = "") -> Iterator[None]:
        """A connection to another rank that breaks or times out inside becomes LostRankError."""
        try:
            yield
        except RuntimeError as error:
            if not _is_lost(error):
                raise
            raise LostRankError(
                "another process of this run has ended or no longer answers, so this one stops"
                + (f"; {advice}" if advice else "")
            ) from error


def from_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """What ``torchrun`` says about this process; a process alone where it says nothing."""
    return Ranks(**vars(place(environment)))


@contextmanager
def join(timeout: timedelta = TIMEOUT) -> Iterator[Ranks]:
    """Meet the other processes of the run, and part with them at the end.

    Inside another ``join`` it only says who this process is. Raises LostRankError when another one dies or
    does not answer for ``timeout``, and SaidElsewhereError in place of an error that another rank reports.
    """
    ranks = from_environment()
    if ranks.alone or dist.is_initialized():
        yield ranks
        return
    with _Termination() as termination:
        store = None
        try:
            with ranks.watching():
                cards = torch.cuda.is_available() and dist.is_nccl_available()
                dist.init_process_group("cpu:gloo,cuda:nccl" if cards else "gloo", timeout=timeout)
                store = _store()
                try:
                    yield ranks
                except InterruptedRunError:
                    ranks.barrier()  # torchrun ends the others when one ends: wait for who still writes
                    raise
                ranks.barrier()
        except GptModelError as error:
            termination.ignored = True
            if store is not None and not _first_to_say(store, error):
                raise SaidElsewhereError(error) from error
            raise
    with suppress(RuntimeError):
        dist.destroy_process_group()


def _is_lost(error: RuntimeError) -> bool:
    """Whether a collective failed because of another process: torch says so in a type or in words only."""
    words = ("gloo", "Connection closed by peer", "Connection reset", "NCCL")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def _first_to_say(store: Store, error: GptModelError) -> bool:
    try:
        return int(store.add(f"gptmodel/said/{type(error).__name__}/{error}", 1)) == 1
    except RuntimeError:  # whoever kept the store is gone: better twice than never
        return True


def _store() -> Store:
    return _get_default_store()


def _broadcast(message: bytes) -> bytes:
    """The first rank's bytes, on every rank."""
    length = torch.tensor([len(message)])
    dist.broadcast(length, 0)
    content = torch.frombuffer(bytearray(message or bytes(int(length))), dtype=torch.uint8)
    dist.broadcast(content, 0)
    return bytes(content.numpy())


class _Termination:
    """SIGTERM outside the loop ends the process, but not while it says why it ends; a context manager.

    When one process ends, torchrun sends SIGTERM to the others within a tenth of a second.
    """

    def __init__(self) -> None:
        self.ignored = False

    def __enter__(self) -> _Termination:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_term)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.ignored and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        if not self.ignored:
            raise SystemExit(128 + number)
