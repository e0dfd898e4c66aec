"""How well a model predicts: loss in nats a token, perplexity, and bits for each byte of the text.

Totals are summed over tokens and divided once, so batches of any size, the last smaller one too, weigh as
they should. Bits per byte divides by the bytes that the evaluated targets stand for, token by token; a
special token has none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gptmodel.data.windows import IGNORE_INDEX
from gptmodel.errors import DataError

__all__ = ["Measurement", "batch_loss", "bits_per_byte", "evaluating", "loss", "measure"]

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Measurement:
    """Totals over an evaluation; ``bytes`` is None where no tokenizer says how long a token is."""

    nats: float
    tokens: int
    bytes: int | None

    @property
    def loss(self) -> float:
        """Nats a token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float | None:
        return None if self.bytes is None else bits_per_byte(self.nats, self.bytes)


def batch_loss(model: Any, inputs: Tensor, targets: Tensor) -> float:
    """Mean loss over one batch, in nats a token; ``inputs`` and ``targets`` are ids (B, T)."""
    return measure(model, [(inputs, targets)]).loss


def loss(model: Any, loader: Batches, batches: int | None = None) -> float:
    """Mean loss over a loader of (inputs, targets), or over its first ``batches``; nats a token.

    >>> evaluate.loss(model, loader, batches=10)  # doctest: +SKIP
    """
    return measure(model, loader, batches).loss


def measure(
    model: Any,
    loader: Batches,
    batches: int | None = None,
    *,
    token_bytes: Tensor | None = None,
    total: Callable[[Tensor], Tensor] | None = None,
) -> Measurement:
    """Totals over a loader, or over its first ``batches``; the model is in eval mode meanwhile and no
    gradient is kept.

    Targets of ``IGNORE_INDEX`` do not count. ``token_bytes`` (V,) gives the length of each token in bytes.
    ``total`` makes the sum over all ranks out of this one's, where several evaluate parts.
    Raises DataError when there is no target at all.
    """
    device = next(model.parameters()).device
    lengths = None if token_bytes is None else token_bytes.to(device)
    parts: list[Tensor] = []  # summed in double precision on the host: MPS has none
    tokens = torch.zeros((), dtype=torch.int64, device=device)
    total_bytes = torch.zeros((), dtype=torch.int64, device=device)
    with evaluating(model):
        for inputs, targets in itertools.islice(loader, batches):
            inputs, targets = inputs.to(device), targets.to(device)
            counted = targets != IGNORE_INDEX
            parts.append(model.loss(inputs, targets, ignore_index=IGNORE_INDEX, reduction="sum").float())
            tokens += counted.sum()
            if lengths is not None:
                total_bytes += lengths[targets.clamp(min=0)].masked_fill(~counted, 0).sum()
    nats = math.fsum(torch.stack(parts).tolist()) if parts else 0.0
    if total is not None:
        nats = float(total(torch.tensor(nats, dtype=torch.float64)))
        tokens, total_bytes = total(tokens), total(total_bytes)
    if not int(tokens):
        raise DataError("there is nothing to evaluate: no batch has a target")
    return Measurement(nats, int(tokens), None if lengths is None else int(total_bytes))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; what it was before comes back."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)


def bits_per_byte(total_nats: float, total_bytes: float) -> float | None:
    """The cost of text in bits for each of its bytes: comparable between tokenizers. None without bytes.

    >>> round(bits_per_byte(total_nats=8 * math.log(2), total_bytes=4), 6)
    2.0
    """
    return total_nats / math.log(2) / total_bytes if total_bytes > 0 else None
