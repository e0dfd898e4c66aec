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

__all__ = ["StepResult", "train_step"]


@dataclass(frozen=True)
class StepResult:
    """What a step measured, still on the device: reading a number makes the host wait."""

    loss: Tensor
    gradient_norm: Tensor
    learning_rate: float
    targets: Tensor
    """How many targets counted."""
    target_bytes: Tensor | None


def train_step(
    state: TrainState, inputs: Tensor, targets: Tensor, documents: Tensor | None = None
) -> StepResult:
    """One update from one batch of ids (B, T), of which this rank has its rows; the gradient is that of the
    mean over the targets of the whole batch. ``documents`` (B, T) numbers those that attention stays in.
    """
    optimizer, scaler = state.optimizer, state.scaler
    factor = learning_rate_factor(state.config.schedule, state.step, state.total_steps)
    learning_rate = set_learning_rate(optimizer, factor)
    ranks, parallel = state.ranks, state.parallel
    if state.model.config.dropout:
        parallel.seed(state.config.train.seed, state.step)
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
    norm = clip_gradients(state.parameters, state.config.optim.grad_clip, in_cpp=state.compiled_for_cpu)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    state.step += 1
    target_bytes = None
    if state.token_bytes is not None:
        lengths = state.token_bytes[targets.clamp(min=0)].where(targets != IGNORE_INDEX, 0)
        target_bytes = ranks.sum(lengths.sum())
    return StepResult(ranks.sum(total), norm, learning_rate, counted, target_bytes)
