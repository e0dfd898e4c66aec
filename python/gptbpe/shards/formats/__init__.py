"""Tokenized datasets of other programs: read into shards, and written from them.

=============  ===================================  =======================================================
``megatron``   ``NAME.bin`` and ``NAME.idx``        Megatron-Core's ``IndexedDataset``; written without a
                                                    copy of the tokens
``datatrove``  ``NAME.ds`` with ``.index``          datatrove's tokenizer, nanotron's Nanosets
``parquet``    rows with a column ``input_ids``     ``datasets``; ``Dataset.save_to_disk`` is read, too
=============  ===================================  =======================================================

The files of llm.c and modded-nanogpt are read by :class:`~gptbpe.ShardReader` as they are, and nanoGPT's by
:meth:`~gptbpe.ShardReader.open_raw`. A format is stated and checked, never guessed.
"""

from __future__ import annotations

from gptbpe.shards.formats.arrow import read_parquet, write_parquet
from gptbpe.shards.formats.datatrove import read_datatrove, write_datatrove
from gptbpe.shards.formats.documents import Documents, documents_of, write_documents
from gptbpe.shards.formats.megatron import read_megatron, write_megatron

__all__ = [
    "Documents",
    "documents_of",
    "read_datatrove",
    "read_megatron",
    "read_parquet",
    "write_datatrove",
    "write_documents",
    "write_megatron",
    "write_parquet",
]
