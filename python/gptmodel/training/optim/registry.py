"""The optimizers by name.

A row is a function ``(model, config, device) -> torch.optim.Optimizer`` and all that there is to add: the
loop, the checkpoints and Lightning know optimizers only by what torch promises of them. Each parameter group
has a ``peak_learning_rate``, which the schedule multiplies, and all state that a step needs lies in
``optimizer.state`` as tensors, where checkpoints find it. An optimizer made of several kinds of update is one
``torch.optim.Optimizer`` whose groups say which kind is theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from gptmodel.errors import ConfigError, did_you_mean
from gptmodel.training.optim.adamw import adamw
from gptmodel.training.optim.config import OptimConfig
from gptmodel.training.optim.muon import muon

__all__ = ["OPTIMIZERS", "build_optimizer", "optimizer_named"]

OPTIMIZERS: dict[str, Callable[[nn.Module, OptimConfig, torch.device], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "muon": muon,
}


def build_optimizer(model: nn.Module, config: OptimConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer that ``config`` names, over the trainable parameters of ``model``.

    Raises ConfigError when no row has that name.
    """
    return optimizer_named(config.optimizer)(model, config, device)


def optimizer_named(name: str) -> Callable[[nn.Module, OptimConfig, torch.device], torch.optim.Optimizer]:
    """The row called ``name``. Raises ConfigError when there is none."""
    if name not in OPTIMIZERS:
        near = did_you_mean(name, OPTIMIZERS)
        raise ConfigError(f"no optimizer is called {name!r}{near}; there are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]
