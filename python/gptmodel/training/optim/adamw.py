"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019), fused where torch has the kernel.

The methods of torch's optimizers are decorated so that no compiler looks into them, and the decorators load
the compiler (torch._dynamo and sympy) at the first call, which takes more than a second before the first
step. `AdamW` calls what is inside the decorators: nothing here is compiled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gptmodel.training.optim.config import OptimConfig
from gptmodel.training.optim.groups import parameter_groups

__all__ = ["AdamW", "adamw"]

FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


class AdamW(torch.optim.AdamW):
    """`torch.optim.AdamW`, with the same arguments, state and results, that does not load the compiler."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        inspect.unwrap(torch.optim.AdamW.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        inspect.unwrap(torch.optim.AdamW.zero_grad)(self, set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return inspect.unwrap(torch.optim.AdamW.step)(self, closure)


def adamw(model: nn.Module, config: OptimConfig, device: torch.device) -> AdamW:
    """AdamW over the groups of ``model``, fused where the device has the kernel."""
    return AdamW(
        parameter_groups(model, config),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=device.type in FUSED_DEVICES,
    )
