"""Token shards: tokenized text on disk, and the order in which training reads it.

:class:`ShardWriter` turns documents of ids into a folder of shards, :class:`ShardReader` opens such a folder,
and :class:`Sampler` says which tokens are training sample number *g*; a :class:`Mixture` does that for
several folders. :func:`shard_files` goes the whole way from text files to shards.

A shard is a ``.bin`` file that llm.c, modded-nanogpt and ``numpy.memmap`` read as it is (1,024 bytes of
header, then uint16 or uint32), with a ``.gbx`` file beside it that holds document ends and checksums.
``manifest.json`` lists the shards and is written last: a folder without one is not finished. Every byte is
under a checksum.
"""

from __future__ import annotations

from gptbpe.shards.build import shard_files
from gptbpe.shards.mixture import Mixture
from gptbpe.shards.reader import ReadProgress, Shard, ShardReader
from gptbpe.shards.sampler import Sampler
from gptbpe.shards.samples import BatchStream, MaskedBatch
from gptbpe.shards.writer import DEFAULT_SHARD_TOKENS, ShardWriter

__all__ = [
    "DEFAULT_SHARD_TOKENS",
    "BatchStream",
    "MaskedBatch",
    "Mixture",
    "ReadProgress",
    "Sampler",
    "Shard",
    "ShardReader",
    "ShardWriter",
    "shard_files",
]
