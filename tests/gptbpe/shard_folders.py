"""What the tests of shards share: a dataset of a few shards, and all bytes of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gptbpe import ShardWriter


def write(folder: Path, vocab_size: int = 300, **options: Any) -> list[int]:
    """Write a few hundred documents; return all tokens."""
    options.setdefault("eos", vocab_size - 1)
    everything = []
    with ShardWriter(folder, vocab_size=vocab_size, shard_tokens=5000, **options) as writer:
        for number in range(300):
            document = [(number * 31 + at * 7919) % (vocab_size - 1) for at in range(number % 97)]
            if number >= writer.resumed_documents:
                writer.write(document, 2 * len(document))
            everything += [*document, vocab_size - 1]
    return everything


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
