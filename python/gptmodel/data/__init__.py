"""From text or shards to batches: windows, the cache of tokenized text, what is held out, the loader."""

from typing import TYPE_CHECKING

from gptbpe.lazy import lazily

if TYPE_CHECKING:
    from gptmodel.data.config import DataConfig
    from gptmodel.data.loader import TrainingData, held_out_parts, prepare
    from gptmodel.data.samples import SampleBatches, SampleDataset
    from gptmodel.data.tokenize import named_tokenizer, shard_text, token_bytes
    from gptmodel.data.windows import IGNORE_INDEX, SlidingWindowDataset, evaluation_windows, shard_parts

__all__ = [
    "IGNORE_INDEX",
    "DataConfig",
    "SampleBatches",
    "SampleDataset",
    "SlidingWindowDataset",
    "TrainingData",
    "evaluation_windows",
    "held_out_parts",
    "named_tokenizer",
    "prepare",
    "shard_parts",
    "shard_text",
    "token_bytes",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "DataConfig": "config",
        "IGNORE_INDEX": "windows",
        "SampleBatches": "samples",
        "SampleDataset": "samples",
        "SlidingWindowDataset": "windows",
        "TrainingData": "loader",
        "evaluation_windows": "windows",
        "held_out_parts": "loader",
        "named_tokenizer": "tokenize",
        "prepare": "loader",
        "shard_parts": "windows",
        "shard_text": "tokenize",
        "token_bytes": "tokenize",
    },
)
