"""Small GPTs over gptbpe token shards."""

from typing import TYPE_CHECKING

from gptbpe.lazy import lazily

if TYPE_CHECKING:
    from gptmodel.config import compose
    from gptmodel.load import GPT
    from gptmodel.model.config import ModelConfig

__all__ = ["GPT", "ModelConfig", "compose"]

__getattr__, __dir__ = lazily(__name__, {"GPT": "load", "ModelConfig": "model.config", "compose": "config"})
