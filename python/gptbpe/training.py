"""How a vocabulary is learned: sources are read in pieces, pre-tokens are counted, pairs are merged.

The counting and the merging are the core's. This file decides what is a file and what is text, reads files a
block at a time, and settles what was asked for before any work is done.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack, cast

from gptbpe import sources
from gptbpe._core import CoreTokenizer, WordCounter
from gptbpe.errors import EarlyStopWarning, TextError, TrainingError
from gptbpe.types import END_OF_TEXT, Pattern, Progress, Source, Text, TieBreak

Piece: TypeAlias = Path | Text
"""One source, settled: a ``Path`` is a file, everything else is text."""


class Options(TypedDict, total=False):
    """The options of ``Tokenizer.train``, which documents them."""

    pattern: Pattern
    special_tokens: Sequence[str]
    tie_break: TieBreak
    min_count: int
    max_token_bytes: int | None
    threads: int | None
    progress: Progress | None


def documents(source: Source) -> Iterable[Piece]:
    """Settle what each part of a source is: ``Path`` is a file, ``str`` is a file unless it has a line break.

    A list is settled at once, so that a missing file is found before any work; an iterator as it goes.
    """
    if isinstance(source, (str, os.PathLike)) or _is_buffer(source):
        return [_settle(source)]
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise TextError(
            "expected a file name, text, or an iterable of them, found "
            f"{type(source).__name__}; counts go to Tokenizer.train_from_counts"
        )
    parts = cast("Iterable[object]", source)
    return map(_settle, parts) if isinstance(parts, Iterator) else [_settle(part) for part in parts]


def texts_of(texts: Iterable[Text]) -> Iterator[Piece]:
    """Take every part as text."""
    if isinstance(texts, str) or _is_buffer(texts):
        yield cast("Text", texts)
        return
    for text in texts:
        if isinstance(text, os.PathLike):
            raise TextError(f"expected text, found the path {os.fspath(text)!r}; files go to Tokenizer.train")
        yield text


def _is_buffer(value: object) -> bool:
    try:
        memoryview(cast("bytes", value))
    except TypeError:
        return False
    return True


def _settle(part: object) -> Piece:
    if isinstance(part, os.PathLike):
        return Path(part)
    if not isinstance(part, str):
        return cast("Text", part)
    if "\n" in part or "\r" in part:
        return part
    path = Path(part)
    try:
        path.stat()
    except (FileNotFoundError, ValueError, OSError) as error:
        shown = part if len(part) <= 60 else part[:57] + "…"
        number = error.errno if isinstance(error, OSError) and error.errno else 2
        raise FileNotFoundError(
            number,
            "no such file (a str without a line break names a file; text goes to Tokenizer.train_from_texts, "
            "or is given as bytes)",
            shown,
        ) from None
    return path


def train(
    pieces: Iterable[Piece],
    vocab_size: int,
    *,
    pattern: Pattern = "cl100k",
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    tie_break: TieBreak = "smallest-ids",
    min_count: int = 1,
    max_token_bytes: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CoreTokenizer:
    """Count, then merge. ``Tokenizer.train`` documents the options."""
    names = _names(special_tokens)
    merges = _merges_wanted(vocab_size, names)
    words = count(pieces, pattern, names, threads, progress)
    core = words.learn(merges, tie_break, min_count, max_token_bytes, [], progress)
    return _finished(core, vocab_size)


def train_from_counts(
    counts: Mapping[str | bytes, int] | Iterable[tuple[str | bytes, int]],
    vocab_size: int,
    **options: Unpack[Options],
) -> CoreTokenizer:
    """Merge what was counted elsewhere. ``Tokenizer.train_from_counts`` documents it."""
    names = _names(options.get("special_tokens", (END_OF_TEXT,)))
    merges = _merges_wanted(vocab_size, names)
    words = WordCounter(options.get("pattern", "cl100k"), names, options.get("threads"))
    pairs: Iterable[tuple[Any, int]] = counts.items() if isinstance(counts, Mapping) else counts
    for word, times in pairs:
        words.add_count(word, times)
    core = words.learn(
        merges,
        options.get("tie_break", "smallest-ids"),
        options.get("min_count", 1),
        options.get("max_token_bytes"),
        [],
        options.get("progress"),
    )
    return _finished(core, vocab_size)


def extend(
    core: CoreTokenizer,
    pieces: Iterable[Piece],
    vocab_size: int,
    *,
    tie_break: TieBreak,
    min_count: int,
    max_token_bytes: int | None,
    threads: int | None,
    progress: Progress | None,
) -> CoreTokenizer:
    """Go on from the merges of ``core``. ``Tokenizer.extend`` documents it."""
    if core.is_characters:
        raise TrainingError(
            "a character tokenizer has no merges to extend; train a new one on all of the text"
        )
    names = [token[0] for token in core.added_tokens]
    merges = core.trained_merges()
    if merges is None or core.vocab_size != 256 + len(merges) + len(names):
        raise TrainingError(
            "only a vocabulary in the order of its merges can be extended (ids 0-255 the bytes, merge k the "
            "id 256 + k, then the special tokens); this one keeps ids of its own"
        )
    if not core.splits_texts_as_given:
        raise TrainingError(
            "this tokenizer changes texts before it splits them (a normalizer, a space before every text, or "
            "a split of bytes), and pre-tokens are counted in texts as they are given; train a new one on "
            "text that is prepared so"
        )
    if vocab_size < core.vocab_size:
        raise TrainingError(
            f"vocab_size={vocab_size} is below the present {core.vocab_size}; to make it smaller call shrink"
        )
    words = count(pieces, core.pattern, names, threads, progress)
    wanted = _merges_wanted(vocab_size, names)
    longer = words.learn(wanted, tie_break, min_count, max_token_bytes, merges, progress, core)
    return _finished(longer, vocab_size)


def characters(source: Source, special_tokens: Sequence[str]) -> CoreTokenizer:
    """Collect the alphabet of a source. ``Tokenizer.characters`` documents it."""
    names = _names(special_tokens)
    alphabet: set[str] = set()
    for piece in documents(source):
        for text in sources.documents(piece) if isinstance(piece, Path) else [piece]:
            string = text if isinstance(text, str) else _utf8(text, piece)
            for name in names:
                string = string.replace(name, "")
            alphabet.update(string)
    if not alphabet:
        raise TrainingError("the text is empty, so there are no characters to make tokens of")
    return CoreTokenizer.characters("".join(sorted(alphabet)), names)


def _utf8(text: Text, piece: Piece) -> str:
    try:
        return bytes(cast("bytes", text)).decode()
    except UnicodeDecodeError as error:
        where = f"{piece}" if isinstance(piece, Path) else "the text"
        raise TextError(
            f"{where} is not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}), so it has no "
            "characters to make tokens of; a byte-level tokenizer takes any bytes"
        ) from None


def count(
    pieces: Iterable[Piece],
    pattern: Pattern,
    special_tokens: Sequence[str],
    threads: int | None,
    progress: Progress | None,
) -> WordCounter:
    """Count the pre-tokens of files and texts."""
    words = WordCounter(pattern, list(special_tokens), threads)
    total: int | None = None
    if progress is not None and isinstance(pieces, list):
        total = sum(piece.stat().st_size if isinstance(piece, Path) else len(piece) for piece in pieces)
    done = 0

    def read(size: int) -> None:
        nonlocal done
        done += size

    for piece in pieces:
        if not isinstance(piece, Path):
            words.feed(piece)
            read(len(piece))
        else:
            for block, document_ends in sources.pieces(piece, report=read):
                words.feed(block)
                if document_ends:
                    words.end_document()
                if progress is not None:
                    progress("counting", done, total)
        words.end_document()
        if progress is not None:
            progress("counting", done, total)
    words.flush()
    return words


def _names(special_tokens: Sequence[str]) -> list[str]:
    if isinstance(special_tokens, str):
        raise TrainingError(
            f"special_tokens is a list of strings, found one string; write [{special_tokens!r}]"
        )
    if isinstance(special_tokens, Mapping):
        raise TrainingError(
            "special_tokens is a list of strings, found a mapping: training numbers special tokens itself, "
            f"in their order behind the last merge; write {list(special_tokens)!r}, or give ids to "
            "Tokenizer.from_ranks"
        )
    if isinstance(special_tokens, Set):
        raise TrainingError(
            "special_tokens is a list of strings, found a set, which has no order that their ids could "
            f"follow; write {sorted(special_tokens)!r}"
        )
    return list(special_tokens)


def _merges_wanted(vocab_size: int, special_tokens: Sequence[str]) -> int:
    least = 256 + len(special_tokens)
    if vocab_size < least:
        raise TrainingError(
            f"vocab_size={vocab_size} is too small: the 256 bytes and the special tokens "
            f"({len(special_tokens)}) need at least {least}"
        )
    if vocab_size > 1 << 31:
        raise TrainingError(f"vocab_size={vocab_size} is too large; ids end at 2,147,483,647")
    return vocab_size - least


def _finished(core: CoreTokenizer, vocab_size: int) -> CoreTokenizer:
    if core.vocab_size < vocab_size:
        warnings.warn(
            f"training stopped at {core.vocab_size} of {vocab_size} tokens: no pair is left to merge; "
            "for a larger vocabulary give more text",
            EarlyStopWarning,
            stacklevel=4,
        )
    return core
