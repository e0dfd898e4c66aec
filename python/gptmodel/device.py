"""Where a run computes and in which numbers, decided once and said at start-up."""

from __future__ import annotations

from typing import Literal

import torch

from gptmodel.errors import ConfigError

__all__ = ["Precision", "compute_dtype", "describe_device", "pick_device", "pick_precision"]

Precision = Literal["fp32", "bf16", "fp16"]


def pick_device(name: str) -> torch.device:
    """The device called ``name``; "auto" is CUDA, else MPS, else the CPU. Raises ConfigError when it is not
    there.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used: {first}; try --device auto") from None
    return device


def pick_precision(name: str, device: torch.device) -> Precision:
    """What "auto" means: bf16 on a card that has it, fp16 on an older one, fp32 elsewhere."""
    if name == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return name  # type: ignore[return-value]  # the configuration admits no other


def compute_dtype(precision: Precision) -> torch.dtype | None:
    """What activations flow in: None is the weights' own fp32."""
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def describe_device(device: torch.device) -> str:
    """The card's name, or the CPU with the threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
