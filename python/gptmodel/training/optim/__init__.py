"""Optimizers: a registry, parameter groups, clipping."""

from gptmodel.training.optim.adamw import AdamW
from gptmodel.training.optim.groups import OptimConfig, clip_gradients, parameter_groups, set_learning_rate
from gptmodel.training.optim.registry import OPTIMIZERS, build_optimizer

__all__ = [
    "OPTIMIZERS",
    "AdamW",
    "OptimConfig",
    "build_optimizer",
    "clip_gradients",
    "parameter_groups",
    "set_learning_rate",
]
