"""From text or shards to batches: windows, the cache of tokenized text, what is held out, the loader."""

from gptmodel.data.loader import DataConfig, TrainingData, held_out_parts, prepare
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
