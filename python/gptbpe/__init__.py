"""Byte-level BPE: train, encode, shard.

>>> from gptbpe import Tokenizer
>>> tok = Tokenizer.train(b"low low lower lowest", vocab_size=260)
>>> tok.decode(tok.encode("lowest"))
'lowest'
"""

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
