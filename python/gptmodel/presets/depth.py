"""The one dial: everything that follows from the number of layers, for the families `gpt2` and `modern`.

The width is 64 a layer in whole heads: of 64 in gpt2, whose depth 12 is OpenAI's 124 million; of 128 in
modern, which keeps the attention kernels busier. Text is 20 tokens a parameter of gpt2 (Hoffmann et al. 2022)
and half of that of modern, which learns more from each (nanochat uses 10 to 12). A batch grows with the
text as D^0.383 (Bergsma et al. 2025, "Power Lines") from 524,288 tokens for the 124 million, in powers of
two. AdamW's rate falls as 1 / width in gpt2 (the table of GPT-3) and as 1 / √width in modern, where it moves
embeddings and head only; Muon's step has the same size in every direction, so its rate stays. Both follow the
square root of the batch (Malladi et al. 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["FAMILIES", "derive", "parameters", "shape"]


@dataclass(frozen=True)
class Family:
    """What sets one family's line apart. ``learning_rate`` is AdamW's at depth 12, ``tokens`` a parameter."""

    head_width: int
    learning_rate: float
    width_power: float
    tokens: int


FAMILIES = {
    "gpt2": Family(head_width=64, learning_rate=6e-4, width_power=-1.0, tokens=20),
    "modern": Family(head_width=128, learning_rate=3e-3, width_power=-0.5, tokens=10),
}
MATRIX_LEARNING_RATE = 0.02
REFERENCE_WIDTH, REFERENCE_TOKENS, REFERENCE_BATCH = 768, 20 * 124e6, 2**19
FEWEST_STEPS = 500
"""A shorter run has a smaller batch instead: learning rates need room to fall."""
BATCHES = (2**11, 2**22)
"""The least and greatest tokens of a batch."""


def shape(family: str, depth: int) -> dict[str, int]:
    """Layers, width and heads of a model of ``depth`` layers.

    Raises ValueError for another family and for less than one layer.
    """
    if family not in FAMILIES:
        raise ValueError(
            f"depth is the dial of {' and '.join(FAMILIES)}, not of {family!r}: set layers and width instead"
        )
    if depth < 1:
        raise ValueError(f"depth must be at least 1, not {depth}")
    head_width = FAMILIES[family].head_width
    heads = -(-64 * depth // head_width)
    return {"layers": depth, "width": heads * head_width, "heads": heads}


def parameters(family: str, depth: int, vocab_size: int) -> int:
    """About how many parameters that count for the length of the training: blocks and head."""
    width = shape(family, depth)["width"]
    return 12 * depth * width**2 + vocab_size * width


def batch_tokens(tokens: float) -> int:
    """Tokens of a batch for a training on ``tokens``: a power of two."""
    wanted = REFERENCE_BATCH * (tokens / REFERENCE_TOKENS) ** 0.383
    wanted = min(wanted, tokens / FEWEST_STEPS)
    power: int = 2 ** round(math.log2(max(1.0, wanted)))
    return max(BATCHES[0], min(BATCHES[1], power))


def derive(
    family: str, depth: int, *, context_length: int, vocab_size: int, tokens: float | None = None
) -> dict[str, Any]:
    """Settings of a run by name: the shape, the batch, the steps and the learning rates.

    ``tokens`` is how much text there is time for; left out, as much as suits the size. Raises ValueError for
    another family and for less than one layer.

    >>> derive("gpt2", 12, context_length=1024, vocab_size=50257)["learning_rate"]
    0.0006
    """
    found = shape(family, depth)
    row = FAMILIES[family]
    if tokens is None:
        tokens = row.tokens * parameters(family, depth, vocab_size)
    batch = max(batch_tokens(tokens), context_length)
    by_width = (found["width"] / REFERENCE_WIDTH) ** row.width_power
    by_batch = min(1.0, batch / REFERENCE_BATCH) ** 0.5
    by_batch = max(0.5, by_batch)  # small models tolerate more than the root allows
    rates = {"learning_rate": rounded(row.learning_rate * by_width * by_batch)}
    if family == "modern":
        rates["matrix_learning_rate"] = rounded(MATRIX_LEARNING_RATE * by_batch)
    return {
        **found,
        **rates,
        "batch_size": max(1, batch // context_length),
        "max_steps": max(1, math.ceil(tokens / batch)),
    }


def rounded(value: float) -> float:
    """To two digits, as a person would write it."""
    return float(f"{value:.2g}")
