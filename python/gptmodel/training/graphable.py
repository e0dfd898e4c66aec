"""Which runs may be recorded as a CUDA graph: the rule of ``--cuda-graph``, and what it says of the others.

A graph repeats what the device did. A run in which the host has a part in the step (it decides, draws, or
talks to other ranks between the kernels) is refused before anything is prepared; nothing is tried in the hope
that it works.
"""

from __future__ import annotations

import torch

from gptmodel.device import Precision
from gptmodel.errors import ConfigError
from gptmodel.training.config import Config
from gptmodel.training.distributed import Ranks

__all__ = ["check_graphable"]

OPTIMIZERS = ("adamw", "muon")
"""Those whose state begins with zeros, and whose step reads its learning rate where a tensor gives it."""


def check_graphable(config: Config, device: torch.device, precision: Precision, ranks: Ranks) -> None:
    """Raise ConfigError where the step of this run cannot be recorded as a CUDA graph."""
    settings, optimizer = config.train, config.optim.optimizer
    attention = config.build_model_config(1).attention
    if device.type != "cuda":
        _refuse(f"needs a CUDA device, and this run is on {device.type}")
    if not ranks.alone:
        _refuse(f"records the step of one process, and there are {ranks.size}")
    if precision == "fp16":
        _refuse(
            "cannot record --precision fp16, where the host looks at each gradient: take bf16, tf32 or fp32"
        )
    if settings.activation_checkpointing:
        _refuse("cannot record --activation-checkpointing, where the host keeps random states")
    if config.data.documents != "stream" and attention == "auto":
        _refuse(
            f"was not tried with the masks of --documents {config.data.documents} that FlexAttention "
            "compiles: take --attention sdpa or --documents stream"
        )
    if optimizer not in OPTIMIZERS:
        _refuse(f"was made for the optimizers {' and '.join(OPTIMIZERS)}, and this run has {optimizer}")


def _refuse(why: str) -> None:
    raise ConfigError(f"--cuda-graph {why}; or give --no-cuda-graph")
