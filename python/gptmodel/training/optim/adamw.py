"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019), fused where torch has the kernel."""

from __future__ import annotations

import torch
from torch import nn

from gptmodel.training.optim.config import OptimConfig
from gptmodel.training.optim.groups import parameter_groups

__all__ = ["adamw"]

FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


def adamw(model: nn.Module, config: OptimConfig, device: torch.device) -> torch.optim.AdamW:
    """AdamW over the groups of ``model``, fused where the device has the kernel."""
    return torch.optim.AdamW(
        parameter_groups(model, config),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=device.type in FUSED_DEVICES,
    )
