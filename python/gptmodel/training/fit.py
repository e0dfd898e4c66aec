"""How many windows fit on the device at once: what ``--micro-batch-size auto`` means.

What a micro-batch takes is, for the most part, what autograd keeps for the backward pass. That is counted for
one window and for two: the difference is what each further window takes. The free memory divided by it, with
room for what is not counted, gives the windows that fit. On CUDA that many are tried, and halved as long as
they do not fit.

The number chosen is written into the configuration of the run. How a batch is split changes rounding, so a
run that is resumed keeps the number that it had, whatever memory is free then.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from gptmodel.device import free_memory, host_memory
from gptmodel.errors import ConfigError
from gptmodel.model import GPT, ModelConfig
from gptmodel.training.compile import rehearse, summed
from gptmodel.units import human

__all__ = ["check_memory", "equal_parts", "fitting_rows", "kept_bytes"]

UNCOUNTED = 1.5
"""A micro-batch takes so many times what autograd keeps: gradients on their way, temporary results."""

SHARE = {"cuda": 0.9, "cpu": 0.5}
"""The part of the free memory to fill; other programs want some of a computer's, and it may begin to swap."""

STATES = 3
"""Tensors as large as the weights that the first step adds: gradients and the optimizer's moments."""


def check_memory(config: ModelConfig, device: torch.device) -> None:
    """Raise ConfigError for a model whose weights, or on a CPU whose training, the memory cannot hold."""
    whole, _ = host_memory()
    kept = config.layers * (config.heads + 2 * config.groups) * config.width_per_head * config.width
    kept += config.layers * config.heads * config.width_per_head * config.width
    kept += (
        config.layers * (3 if config.activation == "swiglu" else 2) * config.feed_forward_width * config.width
    )
    kept += config.vocab_size * config.width * (1 if config.tied_head else 2)
    kept += config.context_length * config.width if config.position == "learned" else 0
    tensors = 1 + STATES if device.type == "cpu" else 1
    if whole is not None and 4 * tensors * kept > whole:
        doing = "to train" if tensors > 1 else "before they are moved to the device"
        raise ConfigError(
            f"{human(kept)} parameters take {human(4 * tensors * kept)}B {doing}, and this computer has "
            f"{human(whole)}B: take a smaller model (--layers {config.layers}, --width {config.width})"
        )


def fitting_rows(
    model: GPT,
    rows: int,
    *,
    masked: bool = False,
    free: Callable[[torch.device], int | None] = free_memory,
) -> tuple[int, str]:
    """The most of ``rows`` windows that fit at once where ``model`` lies, and a phrase that says why.

    ``rows`` can be divided by the result. ``masked`` says whether attention stays inside documents.
    """
    device = next(model.parameters()).device
    one, two = (kept_bytes(model, count, masked) for count in (1, 2))
    each = max(1, two - one)
    room = free(device)
    if room is None:
        return rows, "the free memory is not known"
    weights = STATES * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    room = math.floor(SHARE.get(device.type, 0.5) * room) - weights - max(0, one - each)
    fitting = equal_parts(rows, math.floor(room / (UNCOUNTED * each)))
    while device.type == "cuda" and fitting > 1 and not _fits(model, fitting, masked):
        fitting = equal_parts(rows, fitting // 2)
    return (
        fitting,
        f"a window keeps {human(each)}B for the backward pass, {human(max(0, room))}B are for them",
    )


def equal_parts(rows: int, most: int) -> int:
    """The largest divisor of ``rows`` that is at most ``most``, and at least 1.

    >>> equal_parts(12, 5), equal_parts(7, 5), equal_parts(8, 100)
    (4, 1, 8)
    """
    return next(size for size in range(max(1, min(rows, most)), 0, -1) if rows % size == 0)


def kept_bytes(model: GPT, rows: int, masked: bool = False) -> int:
    """Bytes of memory that autograd keeps between the passes of ``rows`` windows, without the weights."""
    device = next(model.parameters()).device
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    shape = rows, model.config.context_length
    inputs, targets, documents = (torch.zeros(shape, dtype=torch.long, device=device) for _ in range(3))
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        summed(model.loss, inputs, targets, documents if masked else None)
    return sum(kept.values())


def _fits(model: GPT, rows: int, masked: bool) -> bool:
    try:
        rehearse(model, model.loss, rows, masked)
    except torch.OutOfMemoryError:
        print(f"{rows} windows at once do not fit, trying fewer", file=sys.stderr, flush=True)
        return False
    finally:
        torch.cuda.empty_cache()
    return True
