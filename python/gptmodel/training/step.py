"""One step of training: gradients of one batch, clipped, and the update.

How a batch is split into micro-batches changes rounding and nothing else: each token weighs
1 / (tokens of the batch), wherever it lies. (With dropout, the split also decides which mask falls where.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gptmodel.data import IGNORE_INDEX
from gptmodel.training.optim import clip_gradients, set_learning_rate
from gptmodel.training.schedule import learning_rate_factor
from gptmodel.training.state import TrainState

__all__ = ["Measured", "StepResult", "train_step", "update"]


@dataclass(frozen=True)
class Measured:
    """What a step measured, still on the device: reading a number makes the host wait."""

    loss: Tensor
    gradient_norm: Tensor
    targets: Tensor
    """How many targets counted."""
    target_bytes: Tensor | None


@dataclass(frozen=True)
class StepResult(Measured):
    """What a step measured, and its learning rate."""

    learning_rate: float


def train_step(
    state: TrainState, inputs: Tensor, targets: Tensor, documents: Tensor | None = None
) -> StepResult:
    """One update from one batch of ids (B, T), of which this rank has its rows; the gradient is that of the
    mean over the targets of the whole batch. ``documents`` (B, T) numbers those that attention stays in.
    """
    factor = learning_rate_factor(state.config.schedule, state.step, state.total_steps)
    learning_rate = set_learning_rate(state.optimizer, factor)
    if state.model.config.dropout:
        state.parallel.seed(state.config.train.seed, state.step)
    if state.replay is not None:
        measured = state.replay(inputs, targets, documents)
    else:
        measured = update(state, inputs, targets, documents)
        state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    return StepResult(**vars(measured), learning_rate=learning_rate)


def update(state: TrainState, inputs: Tensor, targets: Tensor, documents: Tensor | None = None) -> Measured:
    """The part of a step that the device computes; the clipped gradients stay on the parameters.

    A CUDA graph records it (`cuda_graph`): nothing here may read a number of the device, or depend on one of
    the host that changes from step to step, but for the learning rates of the optimizer.
    """
    optimizer, scaler = state.optimizer, state.scaler
    ranks, parallel = state.ranks, state.parallel
    counted = ranks.sum((targets != IGNORE_INDEX).sum())
    rows = state.config.train.rows_at_once(len(inputs))
    total = torch.zeros((), device=inputs.device)
    for start in range(0, len(inputs), rows):
        some_inputs, some_targets = inputs[start : start + rows], targets[start : start + rows]
        some_documents = None if documents is None else documents[start : start + rows]
        with parallel.exchanging(start + rows >= len(inputs)):
            loss = parallel.loss(some_inputs, some_targets, some_documents) / counted
            torch.autograd.backward(scaler.scale(parallel.share(loss)))
        total += loss.detach()
    scaler.unscale_(optimizer)
    norm = clip_gradients(state.parameters, state.config.optim.grad_clip)
    scaler.step(optimizer)
    scaler.update()
    target_bytes = None
    if state.token_bytes is not None:
        lengths = state.token_bytes[targets.clamp(min=0)].where(targets != IGNORE_INDEX, 0)
        target_bytes = ranks.sum(lengths.sum())
    return Measured(ranks.sum(total), norm, counted, target_bytes)
