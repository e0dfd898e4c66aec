"""``train.bin`` and ``val.bin`` as nanoGPT's ``train.py`` maps them: ids of 16 bits, and nothing else.

They are made of shards, which have a header that nanoGPT would take for ids. The end of the data is
``val.bin``: the last tenth of the tokens, at most 2**20, which is what ``gptmodel`` holds out of shards, too.
"""

from __future__ import annotations

from pathlib import Path

from gptbpe import files
from gptbpe.errors import ShardError
from gptbpe.shards import ShardReader

MOST_IDS = 1 << 16
USUAL_IDS = 50304
"""The height of nanoGPT's embedding table where no ``meta.pkl`` says otherwise."""

MOST_HELD_OUT = 1 << 20
_AT_ONCE = 1 << 22


def check(vocab_size: int) -> None:
    """Raise if ids of such a vocabulary do not fit in 16 bits.

    Raises:
        ShardError: they do not.
    """
    if vocab_size > MOST_IDS:
        raise ShardError(
            f"nanoGPT reads ids of 16 bits, up to {MOST_IDS:,}, and this vocabulary has {vocab_size:,}; take "
            "a smaller one, or plain shards, which llm.c and modded-nanogpt read"
        )


def write(reader: ShardReader, folder: files.Name) -> tuple[int, int]:
    """Write the tokens of shards to ``train.bin`` and ``val.bin``; return how many are in each.

    Raises:
        ShardError: ids do not fit in 16 bits.

    >>> import tempfile, numpy
    >>> from gptbpe import Tokenizer, shard_files
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "input.txt").write_text("low lower " * 10)
    >>> reader = shard_files(folder / "input.txt", Tokenizer.get("gpt2"), folder / "data")
    >>> write(reader, folder)
    (20, 2)
    >>> numpy.fromfile(folder / "val.bin", dtype="uint16").tolist()
    [220, 50256]
    """
    check(reader.vocab_size)
    total = reader.total_tokens
    held_out = min(total // 10, MOST_HELD_OUT)
    _copy(reader, Path(folder) / "train.bin", 0, total - held_out)
    _copy(reader, Path(folder) / "val.bin", total - held_out, total)
    return total - held_out, held_out


def _copy(reader: ShardReader, path: Path, start: int, stop: int) -> None:
    """Write tokens ``start`` to ``stop``, counted through all shards, as they are."""
    with files.opened_atomically(path) as write_bytes:
        before = 0
        for number, shard in enumerate(reader.shards):
            at, end = max(start - before, 0), min(stop - before, shard.tokens)
            while at < end:
                tokens = reader.tokens(number, at, min(at + _AT_ONCE, end))
                write_bytes(tokens.astype("<u2").tobytes())
                at += len(tokens)
            before += shard.tokens
