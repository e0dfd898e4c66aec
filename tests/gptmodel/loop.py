"""What the tests of the loop share: a small text, a model that trains in a second, and its weights."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch

from gptmodel import checkpoint
from gptmodel.config import Config, compose
from gptmodel.training import read_metrics

SENTENCE = "the cat sat on a mat and then it ran to my old red hat in"
WORDS = tuple(SENTENCE.split())

TINY: dict[str, Any] = {
    "context_length": 16,
    "width": 16,
    "heads": 2,
    "layers": 2,
    "batch_size": 4,
    "max_steps": 12,
    "eval_every": 1,
    "eval_batches": 2,
    "sample_tokens": 0,
    "optimizer": "adamw",
    "learning_rate": 1e-2,
    "vocab": 270,
}


def write_text(path: Path, words: int = 4000, seed: int = 0) -> Path:
    """A text with something to learn, the same for a seed."""
    draw = random.Random(seed)
    lines = [" ".join(draw.choice(WORDS) for _ in range(10)) for _ in range(words // 10)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tiny(folder: Path, **changes: Any) -> Config:
    """A configuration that trains on ``folder/text.txt`` into ``folder/runs`` in about a second."""
    text = folder / "text.txt"
    if not text.exists():
        write_text(text)
    return compose({"train_data": (text,), "output": folder / "runs", **TINY, **changes}).config


def flags(folder: Path, **changes: Any) -> list[str]:
    """The same as options of ``gptmodel train``."""
    text = folder / "text.txt"
    if not text.exists():
        write_text(text)
    settings = {"train_data": text, "output": folder / "runs", **TINY, **changes}
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def weights(run: Path, step: int | None = None) -> dict[str, torch.Tensor]:
    """Weights and optimizer state of a checkpoint, by name."""
    found = checkpoint.find(run if step is None else run / "checkpoints" / f"step-{step:08d}")
    return found.model_tensors() | found.optimizer_tensors()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def losses(run: Path, kind: str = "train") -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in read_metrics(run) if record["kind"] == kind]
