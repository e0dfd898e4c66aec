"""What is held out to evaluate on, and is never trained on.

It is ``--eval-data``, or else the last tenth of the tokens (at most 2^20 of them; of a text of less than
10,240 tokens 1,024 of them, or a quarter). Where the last shard is shorter, the end of those before it goes
with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gptmodel.data.tokenize import existing, place_of, shard_text
from gptmodel.data.windows import ShardPart
from gptmodel.errors import DataError

if TYPE_CHECKING:
    from gptbpe import ShardReader, Tokenizer

__all__ = ["check_evaluation", "end_of", "evaluation_reader", "held_out_tokens"]

HELD_OUT_FRACTION = 0.1
HELD_OUT_TOKENS = 2**20
HELD_OUT_FLOOR = 2**10
"""Of a short text so many tokens are held out, if that is not more than a quarter of it."""


def held_out_tokens(lengths: Sequence[int], length: int) -> int:
    """How many tokens at the end of the shards are set apart; 0 when training would be left with less than a
    window.
    """
    total = sum(lengths)
    least = min(HELD_OUT_FLOOR, total // 4)
    wanted = min(max(int(total * HELD_OUT_FRACTION), least), HELD_OUT_TOKENS)
    enough_left = any(
        tokens - taken > length for tokens, taken in zip(lengths, _taken(lengths, wanted), strict=True)
    )
    return wanted if wanted > 1 and enough_left else 0


def end_of(reader: ShardReader, count: int) -> list[ShardPart]:
    """The last ``count`` tokens of the shards; only they are read and checked."""
    lengths = [shard.tokens for shard in reader.shards]
    return [
        ShardPart(reader, shard, tokens - taken, tokens)
        for shard, (tokens, taken) in enumerate(zip(lengths, _taken(lengths, count), strict=True))
        if taken
    ]


def _taken(lengths: Sequence[int], count: int) -> list[int]:
    """How many of the last ``count`` tokens lie in each shard."""
    taken: list[int] = []
    for tokens in reversed(lengths):
        taken.append(min(tokens, count))
        count -= taken[-1]
    return taken[::-1]


def check_evaluation(names: Sequence[str]) -> None:
    """Raise DataError for text to evaluate on that is not there, before anything else takes its time."""
    if not _is_dataset(names):
        existing(names)


def _is_dataset(names: Sequence[str]) -> bool:
    place = place_of(names[0])
    return len(names) == 1 and (isinstance(place, str) or place.is_dir())


def evaluation_reader(
    names: Sequence[str], tokenizer: Tokenizer | None, reader: ShardReader | None
) -> ShardReader:
    """Shards of the text to evaluate on, or the folder of shards that it is, here or at a URL.

    Raises DataError for shards of another tokenizer.
    """
    from gptbpe import ShardReader

    if _is_dataset(names):
        other = ShardReader(place_of(names[0]))
        if reader is not None and other.tokenizer_fingerprint != reader.tokenizer_fingerprint:
            raise DataError(
                f"--eval-data {names[0]} was made with another tokenizer than the training data: "
                f"{other.tokenizer_fingerprint[:12]}, not {reader.tokenizer_fingerprint[:12]}"
            )
        return other
    if tokenizer is None:
        raise DataError("--eval-data is text, but the shards carry no tokenizer: give --tokenizer")
    return ShardReader(shard_text(existing(names), tokenizer))
