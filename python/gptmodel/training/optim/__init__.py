"""Optimizers: a registry, parameter groups, clipping."""

from typing import TYPE_CHECKING

from gptbpe.lazy import lazily

if TYPE_CHECKING:
    from gptmodel.training.optim.adamw import AdamW
    from gptmodel.training.optim.config import OptimConfig
    from gptmodel.training.optim.groups import clip_gradients, parameter_groups, set_learning_rate
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

__getattr__, __dir__ = lazily(
    __name__,
    {
        "OPTIMIZERS": "registry",
        "AdamW": "adamw",
        "OptimConfig": "config",
        "build_optimizer": "registry",
        "clip_gradients": "groups",
        "parameter_groups": "groups",
        "set_learning_rate": "groups",
    },
)
