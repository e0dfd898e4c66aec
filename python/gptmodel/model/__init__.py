"""The architecture alone: configuration, attention, positions, the GPT. No files, no runs, no sampling."""

from typing import TYPE_CHECKING

from gptbpe.lazy import lazily

if TYPE_CHECKING:
    from gptmodel.model.attention import KeyValueCache
    from gptmodel.model.config import Kernel, ModelConfig
    from gptmodel.model.gpt import GPT

__all__ = [
    "GPT",
    "Kernel",
    "KeyValueCache",
    "ModelConfig",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "GPT": "gpt",
        "Kernel": "config",
        "KeyValueCache": "attention",
        "ModelConfig": "config",
    },
)
