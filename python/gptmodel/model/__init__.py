"""The architecture alone: configuration, attention, positions, the GPT. No files, no runs, no sampling."""

from gptmodel.model.attention import KeyValueCache
from gptmodel.model.config import Kernel, ModelConfig
from gptmodel.model.gpt import GPT

__all__ = ["GPT", "Kernel", "KeyValueCache", "ModelConfig"]
