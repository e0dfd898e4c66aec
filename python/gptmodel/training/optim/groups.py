"""Parameters in groups: matrices decay, vectors do not; the head may have a rate of its own. And clipping.

Weight decay is applied to every parameter of two or more dimensions; gains and biases are left alone.
``head_learning_rate`` gives the embedding and the head a rate of their own, which is what fine-tuning on a
resized vocabulary wants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gptmodel.training.optim.config import OptimConfig

__all__ = ["clip_gradients", "parameter_groups", "set_learning_rate"]

CLIP_EPSILON = 1e-6
"""What `torch.nn.utils.clip_grads_with_norm_` adds to the norm."""


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Trainable parameters of ``model`` as groups for an optimizer, each with its ``peak_learning_rate``.

    A tied head appears once, as the embedding. Embedding and head are the modules of type ``nn.Embedding``
    and whatever has the vocabulary as its rows.
    """
    vocabulary = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters(recurse=False)
    }
    vocabulary |= {id(p) for name, p in model.named_parameters() if "head" in name.split(".")}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (parameter.ndim >= 2, id(parameter) in vocabulary and config.head_learning_rate is not None)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decays else 0.0,
            "peak_learning_rate": (config.head_learning_rate if of_head else None) or config.learning_rate,
        }
        for (decays, of_head), parameters in groups.items()
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group to ``factor`` times its peak; returns the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_learning_rate"] * factor
    return float(optimizer.param_groups[0]["lr"])


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale the gradients down to a global norm of at most ``limit`` (0: not at all); returns the norm
    before, on the device.
    """
    parameters = [p for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if hasattr(norm, "full_tensor"):  # a DTensor: each rank has the norm of its part
        norm = norm.full_tensor()
    most = limit if limit > 0 else float("inf")
    if norm.device.type == "cpu" and norm.isfinite() and norm + CLIP_EPSILON <= most:
        return norm  # torch would multiply by 1; on a card the question would cost more than the product
    nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm
