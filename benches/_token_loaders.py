"""Megatron-Core's ``GPTDataset`` for ``batches.py``.

It reads our shard itself, through an index that gptbpe exports, and gives one sample at a time, in a shuffled
order of its own; 64 of them are stacked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from gptbpe import ShardReader
from gptbpe.shards import formats

Make = Callable[[int], tuple[Any, Any]]
Verdicts = tuple[str, str, str]


def megatron(folder: Path, reader: ShardReader, rows: int, length: int) -> tuple[Make, None, Verdicts]:
    """``GPTDataset`` with its shuffled index, which is built and cached before the clock runs."""
    from megatron.core.datasets.gpt_dataset import (  # type: ignore[import-not-found]
        GPTDataset,
        GPTDatasetConfig,
    )
    from megatron.core.datasets.utils import Split  # type: ignore[import-not-found]

    prefix = formats.write_megatron(reader, folder)[0]
    config = GPTDatasetConfig(
        random_seed=0,
        sequence_length=length,
        blend=([str(prefix)], None),
        split="1,0,0",
        path_to_cache=str(folder / "cache"),
        tokenizer=SimpleNamespace(
            vocab_size=reader.vocab_size,
            eod=reader.vocab_size - 1,
            pad=0,
            unique_identifiers={"class": "none"},
        ),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        mid_level_dataset_surplus=0.0,
    )

    def opened(name: Path) -> Any:
        low = GPTDataset.build_low_level_dataset(str(name), config)
        indices = np.arange(len(low), dtype=np.int32)
        return GPTDataset(low, str(name), indices, None, Split.train, config)

    dataset = opened(prefix)

    def make(n: int) -> tuple[Any, Any]:
        items = [dataset[(n * rows + row) % len(dataset)] for row in range(rows)]
        inputs = torch.stack([item["tokens"] for item in items])
        return inputs.numpy(), torch.stack([item["labels"] for item in items]).numpy()

    with tempfile.TemporaryDirectory() as spare:
        for end in ("idx", "bin"):
            shutil.copy(f"{prefix}.{end}", spare)
        copy = Path(spare) / prefix.name
        os.truncate(f"{copy}.bin", Path(f"{prefix}.bin").stat().st_size // 2)
        cut = _noticed(lambda: [dataset[n] for dataset in [opened(copy)] for n in range(len(dataset))])
    # A sample follows from its number, and the order of numbers is one array that all ranks have.
    once = sorted(dataset.shuffle_index.tolist()) == list(range(len(dataset)))
    return make, None, ("yes" if once else "no", "yes", cut)


def _noticed(work: Callable[[], object]) -> str:
    try:
        work()
    except Exception:
        return "yes"
    return "no"
