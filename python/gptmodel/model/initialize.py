"""The first weights of a model, from a seed: the same numbers on every device."""

from __future__ import annotations

import math

import torch
from torch import nn

from gptmodel.model.config import ModelConfig
from gptmodel.model.positions import FixedTable


@torch.no_grad()
def initialize(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Set every weight of `model`, a `GPT`, from `seed`, drawn by a CPU generator in fp32.

    "gpt2": matrices N(0, 0.02²), those that write to the residual stream N(0, 0.02² / 2L). "modern":
    embeddings N(0, 0.02²), matrices N(0, 1 / inputs), and zero for an untied head and for what writes to the
    residual stream, so that the model starts with loss exactly ln V. Gains are 1 and biases 0 in both.
    """
    generator = torch.Generator().manual_seed(seed)
    gpt2 = config.initialization == "gpt2"
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        if name.endswith(("output.weight", "down.weight")):
            std = 0.02 / math.sqrt(2 * config.layers) if gpt2 else 0.0
        elif gpt2 or name in ("token_embedding.weight", "positions.weight"):
            std = 0.02
        else:
            std = 0.0 if name == "head.weight" else parameter.shape[1] ** -0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    for module in model.modules():
        if isinstance(module, FixedTable):
            module.reset()
