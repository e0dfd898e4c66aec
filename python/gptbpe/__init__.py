"""Byte-level BPE: train, encode, shard.

>>> from gptbpe import Tokenizer
>>> tok = Tokenizer.train(b"low low lower lowest", vocab_size=260)
>>> tok.decode(tok.encode("lowest"))
'lowest'
"""

from typing import TYPE_CHECKING

from gptbpe.lazy import lazily

if TYPE_CHECKING:
    from gptbpe._core import StreamDecoder, __version__
    from gptbpe.counts import CountsFile
    from gptbpe.shards import Mixture, Sampler, ShardReader, ShardWriter, shard_files
    from gptbpe.tokenizer import Tokenizer
    from gptbpe.training import count_pretokens
    from gptbpe.types import AddedToken

__all__ = [
    "AddedToken",
    "CountsFile",
    "Mixture",
    "Sampler",
    "ShardReader",
    "ShardWriter",
    "StreamDecoder",
    "Tokenizer",
    "__version__",
    "count_pretokens",
    "shard_files",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "AddedToken": "types",
        "CountsFile": "counts",
        "Mixture": "shards",
        "Sampler": "shards",
        "ShardReader": "shards",
        "ShardWriter": "shards",
        "StreamDecoder": "_core",
        "Tokenizer": "tokenizer",
        "__version__": "_core",
        "count_pretokens": "training",
        "shard_files": "shards",
    },
)
