"""The loss of a model as one compiled graph, where that pays; eager where it does not or cannot.

The graph returns the loss and nothing else, for one shape. It is built before the first step, forward and
backward, on a batch of zeros: so a compiler that fails is found before anything is trained, the run goes on
eager and says so, and the time that compiling takes is in no measurement of the training. Neither weights,
gradients nor random generators are changed by that.

Compiling costs seconds to a minute. Whether it pays is decided by the length of the run and the size of the
model alone, never by a clock: a resumed run of the same configuration computes the same bits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gptmodel.data import IGNORE_INDEX
from gptmodel.model import GPT
from gptmodel.training.config import Config

__all__ = ["compile_loss", "compiling_pays", "is_plain", "summed"]

LossFn = Callable[..., Tensor]

LAUNCHES_PAY = 1000
"""So many steps on CUDA are worth compiling, however small the model is: launches are most of their time."""

SECONDS_PAY = 60.0
"""And so is a run on CUDA that takes so long at `CUDA_FLOPS`."""

CUDA_FLOPS = 1e14
"""Operations a second of an eager model on a card, roughly."""

CPU_SECONDS_PAY = 600.0
"""A run on a CPU is worth compiling if it takes so long at `CPU_FLOPS`: a step is 1.2 times as fast then."""

CPU_FLOPS = 2e11
"""Operations a second of two cores, roughly."""


def summed(loss_fn: LossFn, inputs: Tensor, targets: Tensor, documents: Tensor | None) -> Tensor:
    """The sum over targets of ``loss_fn``, as every step calls it: another call would be another graph."""
    masked = {} if documents is None else {"documents_BT": documents}
    return loss_fn(inputs, targets, **masked, ignore_index=IGNORE_INDEX, reduction="sum")


def compile_loss(model: GPT, rows: int, masked: bool = False) -> tuple[LossFn, str]:
    """``model.loss`` compiled for batches of ``rows`` windows, and a phrase for the report that says so.

    ``masked`` says whether the numbers of documents come with a batch.

    Where the compiler fails, the eager loss, and why.
    """
    print("compiling the model ...", file=sys.stderr, flush=True)
    compiled: LossFn = torch.compile(model.loss, fullgraph=True, dynamic=False)
    began = time.perf_counter()
    try:
        rehearse(model, compiled, rows, masked)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compilers fail in many ways; what is wrong with the model, eager says again
        cause = getattr(error, "inner_exception", error)
        said = next((line for line in str(cause).splitlines() if line.strip()), "").strip()
        return model.loss, f"eager, because the compiler failed: {type(cause).__name__}: {said[:200]}"
    return compiled, f"compiled in {time.perf_counter() - began:.0f} s"


def compiling_pays(
    model: GPT, device: torch.device, total_steps: int, total_tokens: int, *, plain: bool = True
) -> bool:
    """Whether a run of this length is faster with the time to compile than without.

    On a CPU, a run that is not ``plain`` (`is_plain`) is compiled only if that is asked for.
    """
    operations = total_tokens * model.flops_per_token()
    if device.type == "cpu":
        return plain and operations >= CPU_SECONDS_PAY * CPU_FLOPS
    if device.type != "cuda":
        return False
    return total_steps >= LAUNCHES_PAY or operations >= SECONDS_PAY * CUDA_FLOPS


def is_plain(config: Config, processes: int) -> bool:
    """Whether a run is one process without masks of documents and without activation checkpointing."""
    masked = config.data.documents != "stream"
    return processes == 1 and not masked and not config.train.activation_checkpointing


def rehearse(model: GPT, loss_fn: LossFn, rows: int, masked: bool = False) -> None:
    """Call ``loss_fn`` as a step does, forward and backward, on zeros; leave nothing behind."""
    device = next(model.parameters()).device
    shape = rows, model.config.context_length
    # tensors of their own: a graph for inputs that are their own targets would be another one
    inputs, targets, documents = (torch.zeros(shape, dtype=torch.long, device=device) for _ in range(3))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        loss = summed(loss_fn, inputs, targets, documents if masked else None)
        torch.autograd.backward(loss)
    for parameter in trained:
        parameter.grad = None
