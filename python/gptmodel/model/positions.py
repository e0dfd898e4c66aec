"""Positions that are computed, not learned: sinusoidal and rotary tables in fp32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FixedTable(nn.Module):
    """An fp32 table that is computed, not learned: absent from the state dict, and never rounded.

    It is kept as int32 bits: `model.bfloat16()` rounds every floating-point buffer, and a rounded angle is
    wrong.
    """

    bits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bits", self.compute().view(torch.int32), persistent=False)

    def compute(self) -> Tensor:
        raise NotImplementedError

    def table(self) -> Tensor:
        return self.bits.view(torch.float32)

    def reset(self, device: torch.device | None = None) -> None:
        """Compute the table again, for a module that was built without memory (on the meta device)."""
        self.bits = self.compute().view(torch.int32).to(device or self.bits.device)


class SinusoidalPositions(FixedTable):
    """Positions of "Attention Is All You Need" §3.5, added to the embedding.

    PE(t, 2i) = sin(t / 10000^(2i/D)) and PE(t, 2i + 1) = cos(t / 10000^(2i/D)).
    """

    def __init__(self, context_length: int, width: int):
        self.context_length, self.width = context_length, width
        super().__init__()

    def compute(self) -> Tensor:
        pairs = torch.arange(0, self.width, 2, dtype=torch.float64, device="cpu")
        position = torch.arange(self.context_length, dtype=torch.float64, device="cpu")
        angle = position[:, None] / 10_000.0 ** (pairs / self.width)
        return torch.stack((angle.sin(), angle.cos()), -1).flatten(1).float()

    def forward(self, position: Tensor) -> Tensor:
        return F.embedding(position, self.table())


class RotaryPositions(FixedTable):
    """Rotary positions (Su et al. 2021) in Llama's form.

    At position t the pair (x[i], x[i + K/2]) is turned by the angle t · base^(-2i/K).
    """

    def __init__(self, context_length: int, head_width: int, base: float = 10_000.0):
        self.context_length, self.head_width, self.base = context_length, head_width, base
        super().__init__()

    def compute(self) -> Tensor:
        pairs = torch.arange(0, self.head_width, 2, dtype=torch.float32, device="cpu")
        position = torch.arange(self.context_length, dtype=torch.float32, device="cpu")
        angle = position[:, None] * (1.0 / self.base ** (pairs / self.head_width))
        return torch.stack((angle.cos(), angle.sin()))

    def forward(self, x_BHTK: Tensor, start: int = 0) -> Tensor:
        """Turn the vectors of positions start, start + 1, …"""
        cosine, sine = self.table()[:, start : start + x_BHTK.shape[-2]]
        first, second = x_BHTK.float().chunk(2, -1)
        turned = torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)
        return turned.to(x_BHTK.dtype)


def position_in_document(documents_BT: Tensor) -> Tensor:
    """How far each token is from the first token of its document: [[7, 7, 8, 8, 8]] -> [[0, 1, 0, 1, 2]]."""
    index = torch.arange(documents_BT.shape[1], device=documents_BT.device)
    starts = F.pad(documents_BT[:, 1:] != documents_BT[:, :-1], (1, 0), value=True)
    return index - (index * starts).cummax(1).values
