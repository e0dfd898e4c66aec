"""A model out of what there is: a run, one of its checkpoints, a folder in Hugging Face's form, or a seed.

`GPT` here is the architecture of `gptmodel.model` with the three methods that need more than it: `load`,
`generate` and `stream`. It is what `from gptmodel import GPT` gives, and what training trains.

When training takes weights over, the architecture comes with them. Another vocabulary is refused unless it is
asked for, a shorter context is the same weights seen through a smaller window, and nothing else may differ
that a weight depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gptmodel import checkpoint, hf, model
from gptmodel.checkpoint.format import check_same
from gptmodel.errors import CheckpointError, ConfigError
from gptmodel.generate import generate, stream
from gptmodel.hf import State
from gptmodel.model import ModelConfig
from gptmodel.model.positions import FixedTable

if TYPE_CHECKING:
    from gptbpe import Tokenizer

__all__ = ["GPT", "Loaded", "adapt", "assemble", "build", "load", "load_model"]

FREE = frozenset({"attention", "dropout", "initialization", "vocab_size", "context_length"})
"""Settings that may differ from those of the weights; `adapt` judges the last two."""


class GPT(model.GPT):
    """A GPT that loads itself and writes text.

    Example:
        >>> config = ModelConfig(vocab_size=512, context_length=128, width=48, layers=2, heads=3)
        >>> len(GPT(config).generate([1, 2, 3], max_new_tokens=5, temperature=0))
        8
    """

    @classmethod
    def load(cls, path: str | PathLike[str], device: Any = None, dtype: torch.dtype | None = None) -> GPT:
        """A model in eval mode from a run, one of its checkpoints, or a folder in Hugging Face's form."""
        return load_model(path, device=device, dtype=dtype)

    def generate(self, ids: Any, max_new_tokens: int = 200, **sampling: Any) -> Any:
        """The prompt and up to `max_new_tokens` new ids; see `gptmodel.generate` for the sampling options."""
        return generate(self, ids, max_new_tokens, **sampling)

    def stream(self, ids: Any, max_new_tokens: int = 200, **sampling: Any) -> Iterator[int]:
        """New ids one by one, as they are chosen; see `gptmodel.generate`."""
        return stream(self, ids, max_new_tokens, **sampling)


@dataclass(frozen=True)
class Loaded:
    """What it takes to use a model: its architecture, its weights, and its tokenizer where one was stored."""

    model_config: ModelConfig
    state_dict: State = field(repr=False)
    tokenizer: Tokenizer | None
    path: Path


def load(path: str | PathLike[str], *, tokenizer: bool = True) -> Loaded:
    """The parts of the model of a run, a checkpoint or a folder in Hugging Face's form, every byte checked.

    `tokenizer` False leaves the tokenizer unread. Raises CheckpointError, or ValueError for a folder in
    Hugging Face's form that this model cannot hold.

    Example:
        >>> load("runs/tiny").model_config.context_length  # doctest: +SKIP
        128
    """
    folder = Path(path)
    if (folder / "config.json").is_file():
        config, state = hf.read(folder)
        return Loaded(config, state, hf.read_tokenizer(folder) if tokenizer else None, folder)
    found = checkpoint.find(folder)
    return Loaded(
        found.model_config(), found.model_tensors(), found.tokenizer() if tokenizer else None, found.path
    )


def load_model(path: str | PathLike[str], *, device: Any = None, dtype: torch.dtype | None = None) -> GPT:
    """A model in eval mode, from a run folder, one of its checkpoints, or a folder in Hugging Face's form."""
    found = load(path, tokenizer=False)
    model = assemble(found.model_config, found.state_dict, str(found.path))
    return model.to(device=device, dtype=dtype).eval()


def assemble(config: ModelConfig, state: Mapping[str, Tensor], origin: str = "the checkpoint") -> GPT:
    """A model that holds these very tensors, without initializing or copying weights.

    Raises CheckpointError, naming `origin`, when they are not those of a model of this architecture.
    """
    with torch.device("meta"):
        model = GPT(config, seed=None)
    check_same(model.state_dict(), state, origin, "model", any_precision=True)
    model.load_state_dict(state, assign=True)
    for module in model.modules():
        if isinstance(module, FixedTable):
            module.reset(torch.device("cpu"))
    return model.requires_grad_(True)


# --- weights to begin with ---


def build(config: ModelConfig, seed: int, init_from: str | None = None, *, resize_vocab: bool = False) -> GPT:
    """The model to train, on the CPU. Raises ConfigError when the weights of `init_from` do not fit."""
    if init_from is None:
        return GPT(config, seed=seed)
    stored, state = _weights(init_from)
    for name in ModelConfig.model_fields:
        had, wanted = getattr(stored, name), getattr(config, name)
        if name not in FREE and had != wanted:
            raise ConfigError(f"--init-from has {name} = {had}, asked for is {wanted}: the weights fix it")
    try:
        _, state = adapt(
            stored,
            state,
            vocab_size=config.vocab_size,
            context_length=config.context_length,
            resize_vocab=resize_vocab,
        )
    except ValueError as error:
        raise ConfigError(f"--init-from {init_from}: {error}") from None
    model = GPT(config, seed=None)
    check_same(model.state_dict(), state, f"--init-from {init_from}", "model", any_precision=True)
    model.load_state_dict(state)
    return model


def stored_config(init_from: str) -> ModelConfig:
    """The architecture that comes with the weights."""
    if (Path(init_from)).is_dir() and not (Path(init_from) / "config.json").exists():
        return checkpoint.find(init_from).model_config()
    return _weights(init_from)[0]


def stored_tokenizer(init_from: str) -> Tokenizer | None:
    """The tokenizer that lies beside the weights."""
    folder = Path(init_from)
    if folder.is_dir() and not (folder / "config.json").exists():
        return checkpoint.find(folder).tokenizer()
    return hf.read_tokenizer(folder)


def _weights(init_from: str) -> tuple[ModelConfig, State]:
    try:
        if Path(init_from).is_dir():
            found = load(init_from, tokenizer=False)
            return found.model_config, found.state_dict
        return hf.read(init_from)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise ConfigError(f"--init-from {init_from}: {error}") from None


def adapt(
    config: ModelConfig,
    state: State,
    *,
    vocab_size: int | None = None,
    context_length: int | None = None,
    resize_vocab: bool = False,
) -> tuple[ModelConfig, State]:
    """The same weights for another vocabulary or context.

    A vocabulary of another size is refused unless `resize_vocab`; then rows are cut off, or new rows start
    as the mean of the others. A shorter context keeps the first positions. A longer one is refused for
    learned positions, which have no weights for it.
    """
    if vocab_size is not None and vocab_size != config.vocab_size:
        if not resize_vocab:
            raise ValueError(
                f"the checkpoint knows {config.vocab_size} ids and the tokenizer has {vocab_size}: use the "
                "checkpoint's tokenizer, or pass --resize-vocab to cut or add rows"
            )
        state = {
            name: _resized(tensor, vocab_size)
            if name in ("token_embedding.weight", "head.weight")
            else tensor
            for name, tensor in state.items()
        }
        config = config.model_copy(update={"vocab_size": vocab_size})
    if context_length is not None and context_length != config.context_length:
        if config.position == "learned":
            if context_length > config.context_length:
                raise ValueError(
                    f"the checkpoint has learned positions for a context of {config.context_length}, and "
                    f"{context_length} were asked for: there are no weights for the others"
                )
            state = state | {"positions.weight": state["positions.weight"][:context_length].clone()}
        config = config.model_copy(update={"context_length": context_length})
    return config, state


def _resized(tensor_VD: Tensor, vocab_size: int) -> Tensor:
    missing = vocab_size - len(tensor_VD)
    if missing <= 0:
        return tensor_VD[:vocab_size].clone()
    mean_1D = tensor_VD.float().mean(0, keepdim=True).to(tensor_VD)
    return torch.cat((tensor_VD, mean_1D.expand(missing, -1)))
