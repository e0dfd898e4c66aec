"""Folders of shards to train on, mixed in exact shares: ``--shards books/:0.7 s3://bucket/code:0.3``.

One folder is read as it is. Of several each gives its share of the windows, by the weights behind the colons;
without any weight each gives what it has, so that all end together. What is held out is taken from the end of
each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptmodel.data.split import HELD_OUT_TOKENS, end_of, held_out_tokens
from gptmodel.data.tokenize import place_of
from gptmodel.data.windows import ShardPart
from gptmodel.errors import DataError

if TYPE_CHECKING:
    from gptbpe import Mixture, Sampler, ShardReader

__all__ = ["Source", "held_out_ends", "held_out_of", "open_shards", "parse_source", "plan"]


@dataclass(frozen=True)
class Source:
    """A dataset to train on; ``weight`` is its part of the mixture, None where no source has one."""

    reader: ShardReader
    name: str
    weight: float | None = None


def parse_source(word: str) -> tuple[Path | str, float | None]:
    """The folder, or the URL of one, and the weight of ``FOLDER:WEIGHT``, or of ``FOLDER``, whose weight is
    None.

    >>> parse_source("books/:0.7")
    (PosixPath('books'), 0.7)
    >>> parse_source("s3://bucket/books:0.7")
    ('s3://bucket/books', 0.7)
    """
    folder, colon, weight = word.rpartition(":")
    if not colon or Path(word).exists():
        return place_of(word), None
    try:
        share = float(weight)
    except ValueError:
        return place_of(word), None
    if not (math.isfinite(share) and share > 0):
        raise DataError(f"--shards {word}: a weight should be a number above 0")
    return place_of(folder), share


def open_shards(words: Sequence[str]) -> list[Source]:
    """The datasets that ``--shards`` names. Raises DataError where one is missing or does not fit in.

    One at a URL is read through `gptbpe`'s cache, block by block.
    """
    from gptbpe import ShardReader

    sources: list[Source] = []
    for word in words:
        folder, weight = parse_source(word)
        if isinstance(folder, Path) and not folder.is_dir():
            raise DataError(
                f"no folder of shards at {folder}: make one with `gptbpe shard TEXT -t TOKENIZER -o {folder}`"
            )
        sources.append(Source(ShardReader(folder), str(folder), weight))
    first = sources[0]
    for other in sources[1:]:
        if other.reader.tokenizer_fingerprint != first.reader.tokenizer_fingerprint:
            raise DataError(
                f"{other.name} was made with another tokenizer than {first.name}: fingerprints "
                f"{other.reader.tokenizer_fingerprint[:12]} and {first.reader.tokenizer_fingerprint[:12]}"
            )
    if len({source.weight is None for source in sources}) > 1:
        without = next(source.name for source in sources if source.weight is None)
        raise DataError(
            f"--shards: {without} has no weight, others have: say {without}:WEIGHT, or none at all"
        )
    return sources


def held_out_of(sources: Sequence[Source], length: int) -> list[int]:
    """How many tokens at the end of each source are set apart."""
    most = HELD_OUT_TOKENS // len(sources)
    return [
        min(most, held_out_tokens([shard.tokens for shard in source.reader.shards], length))
        for source in sources
    ]


def held_out_ends(sources: Sequence[Source], reserved: Sequence[int]) -> list[ShardPart]:
    """What `held_out_of` sets apart."""
    return [
        part
        for source, count in zip(sources, reserved, strict=True)
        if count
        for part in end_of(source.reader, count)
    ]


def plan(
    sources: Sequence[Source], reserved: Sequence[int], length: int, *, seed: int, **options: Any
) -> tuple[Sampler | Mixture, int, list[str]]:
    """Which windows are trained on in which order; how many are an epoch; and a line for each of several
    sources. ``options`` are those of `gptbpe.Sampler`.

    An epoch of a mixture is as many windows as its sources have together.
    """
    from gptbpe import Mixture, Sampler

    samplers = []
    for source, count in zip(sources, reserved, strict=True):
        longest = max((shard.tokens for shard in source.reader.shards), default=0)
        if longest <= length:
            raise DataError(
                f"{source.name} has {longest:,} tokens, too few for one window of {length} and its target: "
                "give more text or a smaller --context-length"
            )
        samplers.append(Sampler(source.reader, length, seed=seed, reserve=count, **options))
    windows = [len(sampler) for sampler in samplers]
    if len(sources) == 1:
        return samplers[0], windows[0], []
    weights = [float(own if s.weight is None else s.weight) for s, own in zip(sources, windows, strict=True)]
    lines = [
        f"          {weight / sum(weights):.1%} from {source.name}, {own:,} windows"
        for source, weight, own in zip(sources, weights, windows, strict=True)
    ]
    return Mixture(samplers, weights, seed=seed), sum(windows), lines
