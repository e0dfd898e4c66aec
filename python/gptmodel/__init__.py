"""Small GPTs over gptbpe token shards."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptmodel.load import GPT
    from gptmodel.model import ModelConfig

__all__ = ["GPT", "ModelConfig"]


def __getattr__(name: str) -> Any:
    """Fetch `GPT` and `ModelConfig` when first asked for: they import torch, which takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'gptmodel' has no attribute {name!r}")
    from gptmodel import load

    return getattr(load, name)
