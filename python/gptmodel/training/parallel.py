"""One model on several ranks: replicated (DDP) or divided (FSDP2), with the gradients of the global batch.

Replicated, each rank holds the whole model and the ranks exchange gradients. Divided (``--shard-model``),
each rank holds a part of every weight, gradient and optimizer tensor, and a block is gathered just before it
computes: for models that do not fit one card. Both average over the ranks, so a step multiplies its share of
the loss by their number; with micro-batches they exchange once, at the last one.

Checkpoints are the same files for either, and for a run alone: divided tensors are gathered into memory of
the first rank with torch.distributed.checkpoint's state-dict helpers, and every rank reads the whole file and
keeps its part. So the memory of a machine must hold the model and its optimizer once, and the weights once
for each of its ranks while they are initialized or restored. Beyond that (tens of billions of weights) a
divided checkpoint would be needed, `torch.distributed.checkpoint.save`, which is not built here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gptmodel.model import GPT
from gptmodel.training.compile import compile_loss, summed
from gptmodel.training.distributed import Ranks

if TYPE_CHECKING:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

__all__ = ["Parallel", "fill_model", "is_sharded", "place", "whole_model", "whole_optimizer"]

METHODS = ("loss", "generate")
"""What is called on a model besides ``forward``, and needs its weights gathered."""

Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class Parallel:
    """How a step computes the loss and its gradients where other ranks compute theirs.

    ``loss`` is the sum over targets of (inputs, targets, documents or None), whose ``backward`` exchanges
    gradients.
    ``loss_fn`` is ``model.loss``, compiled or not, which ``compiler`` says in words; it exchanges nothing.
    """

    ranks: Ranks
    model: nn.Module = field(repr=False)
    loss_fn: Loss = field(repr=False)
    compiler: str
    replica: DistributedDataParallel | None = field(default=None, repr=False)

    def loss(self, inputs: Tensor, targets: Tensor, documents: Tensor | None = None) -> Tensor:
        if self.replica is not None:
            return self.replica(inputs, targets, documents)  # type: ignore[no-any-return]
        return summed(self.loss_fn, inputs, targets, documents)

    def exchanging(self, last: bool) -> AbstractContextManager[None]:
        """Around the forward and backward pass of a micro-batch: gradients are exchanged at the last one."""
        if is_sharded(self.model):
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
        elif self.replica is not None and not last:
            return self.replica.no_sync()
        return nullcontext()

    def share(self, loss: Tensor) -> Tensor:
        """What to differentiate: the average of the ranks' is then the gradient of their summed ``loss``."""
        return loss if self.ranks.alone else loss * self.ranks.size

    def seed(self, seed: int, step: int) -> None:
        """Give each rank a dropout mask of its own, a function of (seed, step, rank)."""
        if not self.ranks.alone:
            mixed = (seed * 1_000_003 + step) * 1_000_003 + self.ranks.rank
            torch.manual_seed(mixed % 2**63)


def place(
    model: GPT,
    device: torch.device,
    ranks: Ranks,
    *,
    shard: bool,
    compiled: bool,
    rows: int,
    masked: bool = False,
) -> Parallel:
    """Move ``model`` to ``device`` and prepare it for ``ranks``. An optimizer is made after, not before.

    ``rows`` are those of a micro-batch of one rank, for which the loss is compiled, and ``masked`` says
    whether it comes with the numbers of documents.
    """
    if ranks.alone or not shard:
        model.to(device).train()
        loss_fn, compiler = compile_loss(model, rows, masked) if compiled else (model.loss, "eager")
        replica = None if ranks.alone else _replicate(model, loss_fn, device)
        return Parallel(ranks, model, loss_fn, compiler, replica)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (ranks.size,))
    for block in model.blocks:
        if compiled:
            block.compile(dynamic=False)
        fully_shard(block, mesh=mesh)
    # The root holds what is outside the blocks. It is gathered again for the backward pass, so that nobody
    # finds gathered weights between two steps.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    for name in METHODS:
        if hasattr(model, name):
            register_fsdp_forward_method(model, name)
    model.train()
    return Parallel(ranks, model, model.loss, "compiled, block by block" if compiled else "eager")


class _Loss(nn.Module):
    """The loss as the forward pass of a module, which is what DDP knows."""

    def __init__(self, model: nn.Module, loss_fn: Loss) -> None:
        super().__init__()
        self.model, self.loss_fn = model, loss_fn

    def forward(self, inputs: Tensor, targets: Tensor, documents: Tensor | None = None) -> Tensor:
        return summed(self.loss_fn, inputs, targets, documents)


def _replicate(model: nn.Module, loss_fn: Loss, device: torch.device) -> DistributedDataParallel:
    with warnings.catch_warnings():  # torch 2.13 prefers a name that torch 2.12 does not have
        warnings.filterwarnings("ignore", ".*broadcast_buffers.*")
        return DistributedDataParallel(
            _Loss(model, loss_fn),
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # tables that every rank computes
            gradient_as_bucket_view=True,
        )


# --- divided models ---


def is_sharded(model: nn.Module) -> bool:
    """Whether each rank holds a part of the weights only."""
    return hasattr(model, "set_requires_gradient_sync")  # an FSDPModule


def whole_model(model: nn.Module) -> dict[str, Tensor]:
    """The weights by name, whole, on the first rank's CPU; empty on the others, which must call it too."""
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    return _tensors(get_model_state_dict(model, options=_whole()))


def whole_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state, ``exp_avg.blocks.0…``, whole, on the first rank's CPU; empty on the others."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    states: Any = get_optimizer_state_dict(model, optimizer, options=_whole()).get("state", {})
    return _tensors({f"{key}.{name}": value for name, kept in states.items() for key, value in kept.items()})


def fill_model(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give each rank its part of the whole weights."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(model, dict(tensors), options=StateDictOptions(full_state_dict=True))


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _whole() -> StateDictOptions:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)
