"""Weights to begin with: drawn from the seed, or taken over from a checkpoint or a Hugging Face folder.

When weights are taken over, the architecture comes with them. Another vocabulary is refused unless it is
asked for, a shorter context is the same weights seen through a smaller window, and nothing else may differ
that a weight depends on.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gptmodel import hf
from gptmodel.errors import ConfigError
from gptmodel.model import GPT, ModelConfig

__all__ = ["build", "freeze", "shape_of", "tokenizer_of"]

FREE = frozenset({"attention", "dropout", "initialization", "vocab_size", "context_length"})
"""Settings that may differ from those of the weights; `hf.adapt` judges the last two."""


def build(shape: ModelConfig, seed: int, init_from: str | None = None, *, resize_vocab: bool = False) -> GPT:
    """The model to train, on the CPU. Raises ConfigError when the weights of ``init_from`` do not fit."""
    if init_from is None:
        return GPT(shape, seed=seed)
    config, state = _read(init_from)
    for name in ModelConfig.model_fields:
        had, wanted = getattr(config, name), getattr(shape, name)
        if name not in FREE and had != wanted:
            raise ConfigError(f"--init-from has {name} = {had}, asked for is {wanted}: the weights fix it")
    try:
        config, state = hf.adapt(
            config,
            state,
            vocab_size=shape.vocab_size,
            context_length=shape.context_length,
            resize_vocab=resize_vocab,
        )
    except ValueError as error:
        raise ConfigError(f"--init-from {init_from}: {error}") from None
    model = GPT(shape, seed=None)
    model.load_state_dict(state)
    return model


def shape_of(init_from: str) -> ModelConfig:
    """The architecture that comes with the weights."""
    return _read(init_from)[0]


def tokenizer_of(init_from: str) -> Path | None:
    """The tokenizer file that lies beside the weights."""
    from gptmodel import checkpoint

    folder = Path(init_from)
    if folder.is_dir() and not (folder / "config.json").exists():
        folder = checkpoint.find(folder).path
    file = folder / checkpoint.TOKENIZER
    return file if file.exists() else None


def _read(init_from: str) -> tuple[ModelConfig, hf.State]:
    if Path(init_from).is_dir():
        return hf.load_parts(init_from, tokenizer=False)[:2]
    try:
        return hf.read(init_from)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--init-from {init_from}: {error}") from None


def freeze(model: GPT, layers: int) -> None:
    """Keep the first ``layers`` blocks, and the embeddings under them, as they are. 0 freezes nothing."""
    if layers > len(model.blocks):
        raise ConfigError(f"--freeze-layers {layers}: the model has {len(model.blocks)} layers")
    if layers == 0:
        return
    frozen = [model.token_embedding, *model.blocks[:layers]]
    if isinstance(model.positions, torch.nn.Embedding):
        frozen.append(model.positions)
    for module in frozen:
        module.requires_grad_(False)
