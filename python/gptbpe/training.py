"""How a vocabulary is learned: sources are read in pieces, pre-tokens are counted, pairs are merged.

The counting and the merging are the core's. This file decides what is a file and what is text, reads files a
block at a time, and settles what was asked for before any work is done.
"""

from __future__ import annotations

import errno
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, SupportsIndex, TypeAlias, TypedDict, Unpack, cast

from gptbpe import counts as counted
from gptbpe import names as known
from gptbpe import sources
from gptbpe._core import GREATEST_ID, CoreCountsFile, CoreTokenizer, WordCounter
from gptbpe.counts import CountsFile
from gptbpe.errors import EarlyStopWarning, TextError, TrainingError
from gptbpe.io import FileRange
from gptbpe.io.remote import Url, is_remote
from gptbpe.io.remote import size as remote_size
from gptbpe.types import END_OF_TEXT, Pattern, Progress, Source, Text, TieBreak

Piece: TypeAlias = Path | Url | FileRange | Text
"""One source, settled: ``Path`` and ``Url`` are files, ``FileRange`` a part of one, all else is text."""
FILES = (Path, Url, FileRange)

PART_BYTES = 8 << 20
"""So much of a long text is counted between two reports of progress."""

FROM_TEXTS = "Tokenizer.train_from_texts, or give it as bytes"


class MergeOptions(TypedDict, total=False):
    """How merges are learned. ``Tokenizer.train`` documents these and all other options."""

    tie_break: TieBreak
    min_count: int
    max_token_bytes: int | None
    threads: int | None
    progress: Progress | None


class Options(MergeOptions, total=False):
    """The options of ``Tokenizer.train`` that do not concern the text."""

    pattern: Pattern
    special_tokens: Sequence[str]


class CountOptions(TypedDict, total=False):
    """How text is counted."""

    separator: str | None
    weights: Sequence[int] | None
    max_memory: int | str | None


class TextOptions(Options, CountOptions, total=False):
    """All options of ``Tokenizer.train``."""


class ExtendOptions(MergeOptions, CountOptions, total=False):
    """The options of ``Tokenizer.extend``: pattern and special tokens are the tokenizer's."""


def documents(source: Source, texts: str = FROM_TEXTS) -> Iterable[Piece]:
    """Settle what each part of a source is: ``Path`` is a file, ``str`` is a file unless it has a line break.

    A list is settled at once, so that a missing file is found before any work; an iterator as it goes.
    ``texts`` is the call to which an error points for short texts.
    """
    if isinstance(source, (str, os.PathLike)) or _is_buffer(source):
        return [_settle(source, texts)]
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise TextError(
            "expected a file name, text, or an iterable of them, found "
            f"{type(source).__name__}; counts go to Tokenizer.train_from_counts"
        )
    parts = cast("Iterable[object]", source)
    if isinstance(parts, Iterator):
        return (_settle(part, texts) for part in parts)
    parts = list(parts)
    _refuse_mixture(parts, texts)
    return [_settle(part, texts) for part in parts]


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


def _settle(part: object, texts: str) -> Piece:
    if isinstance(part, os.PathLike):
        return Path(part)
    if not isinstance(part, str):
        return cast("Text", part)
    if not _is_name(part):
        return part
    if is_remote(part):
        remote_size(part)  # says what is wrong with it before any work is done
        return Url(part)
    error = _why_missing(part)
    if error is not None:
        raise FileNotFoundError(
            error,
            f"no such file (a str without a line break names a file; for text call {texts})",
            _shown(part),
        )
    return Path(part)


def _is_name(part: str) -> bool:
    return "\n" not in part and "\r" not in part


def _why_missing(name: str) -> int | None:
    """Return the system's number for why there is no such file, or None where there is one."""
    try:
        Path(name).stat()
    except OSError as error:
        return error.errno or errno.ENOENT
    except ValueError:
        return errno.ENOENT
    return None


def _shown(name: str) -> str:
    return name if len(name) <= 60 else name[:57] + "…"


def _refuse_mixture(parts: list[object], texts: str) -> None:
    """Raise if some strings of a list name files and others do not: which of them are meant as texts?"""
    named = [part for part in parts if isinstance(part, str) and _is_name(part) and not is_remote(part)]
    missing = [name for name in named if _why_missing(name) is not None]
    if missing and len(missing) < len(named):
        raise FileNotFoundError(
            errno.ENOENT,
            f"no such file; {len(named) - len(missing)} of the strings name files and {len(missing)} do not "
            f"(this is the first): if all are texts call {texts}; if some are, give these as bytes and the "
            "files as Path",
            _shown(missing[0]),
        )


def train(
    pieces: Iterable[Piece],
    vocab_size: int,
    *,
    pattern: Pattern = "cl100k",
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    **options: Unpack[ExtendOptions],
) -> CoreTokenizer:
    """Count, then merge. ``Tokenizer.train`` documents the options."""
    names = _names(special_tokens)
    merges = _merges_wanted(vocab_size, names)
    merging = _Merging.of(options)
    words = count(pieces, known.pattern(pattern), names, options)
    return _finished(merging.learn(words, merges), vocab_size)


def train_from_counts(
    counts: counted.Name | Iterable[counted.Name] | counted.Pairs,
    vocab_size: int,
    *,
    weights: Sequence[int] | None = None,
    **options: Unpack[Options],
) -> CoreTokenizer:
    """Merge what was counted elsewhere. ``Tokenizer.train_from_counts`` documents it."""
    files, pairs = counted.given(counts)
    pattern = known.pattern(options.get("pattern", "cl100k"))
    names = _names(options.get("special_tokens", (END_OF_TEXT,)))
    if files:
        first = CoreCountsFile.open(files[0])
        counted.expect(
            files[0],
            pattern if "pattern" in options else first.regexes,
            names if "special_tokens" in options else first.special_tokens,
        )
        # As it stands in the file: a regex that reads like a name stays one.
        pattern, names = first.regexes, first.special_tokens
    elif weights is not None:
        raise TrainingError("weights go with files of counts; multiply counts of your own yourself")
    merges = _merges_wanted(vocab_size, names)
    merging = _Merging.of(options)
    words = WordCounter(pattern, names, options.get("threads"))
    if files:
        each = counted.weights(weights, len(files)) or [1] * len(files)
        words.add_files(files, each, files[0], options.get("progress"))
    for word, times in pairs.items() if isinstance(pairs, Mapping) else pairs:
        words.add_count(cast("Any", word), times)
    return _finished(merging.learn(words, merges), vocab_size)


def count_pretokens(
    source: Source,
    output: counted.Name,
    *,
    pattern: Pattern = "cl100k",
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    separator: str | None = None,
    weights: Sequence[int] | None = None,
    threads: int | None = None,
    max_memory: int | str | None = None,
    progress: Progress | None = None,
) -> CountsFile:
    """Count the pre-tokens of files or texts into a file, which ``Tokenizer.train_from_counts`` learns from.

    This is how several machines train one vocabulary: each counts its share of the text, and one learns from
    all files. The result is that of training on all of the text.

    Args:
        source: files or texts, as for ``Tokenizer.train``.
        output: the file, usually ``….pcnt``. It appears whole or not at all.
        pattern: how text is split. Files are added up only if theirs is the same.
        special_tokens: they end documents and are not counted; the same for all files that are added up.
        separator: ends documents in plain text, as for ``Tokenizer.train``.
        weights: how often each pre-token of each source counts, as for ``Tokenizer.train``.
        threads: how many threads count; None for one per core.
        max_memory: about how much memory counting may take, as for ``Tokenizer.train``.
        progress: called now and then as ``progress("counting", bytes_done, bytes_in_all)``.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: a source or the output's folder is not there.
        TrainingError: a count exceeds 64 bits.
        PatternError: the pattern cannot be compiled.

    >>> from gptbpe import Tokenizer, count_pretokens
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name, text in {"a": b"low low lower", "b": b"lower and lower"}.items():
    ...     counts = count_pretokens(text, folder / f"{name}.pcnt")
    >>> Tokenizer.train_from_counts([folder / "a.pcnt", folder / "b.pcnt"], vocab_size=260).merges
    [(108, 111), (256, 119), (32, 257)]
    """
    target = Path(output)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(target.parent))
    pieces = documents(source, "count_pretokens(text.encode(), …)")
    options: ExtendOptions = {
        "separator": separator,
        "weights": weights,
        "threads": threads,
        "max_memory": max_memory,
        "progress": progress,
    }
    words = count(pieces, known.pattern(pattern), _names(special_tokens), options)
    words.write(target)
    return CountsFile.open(target)


def extend(
    core: CoreTokenizer, pieces: Iterable[Piece], vocab_size: int, **options: Unpack[ExtendOptions]
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
    _check_whole(vocab_size)
    if vocab_size < core.vocab_size:
        raise TrainingError(
            f"vocab_size={vocab_size} is below the present {core.vocab_size}; to make it smaller call shrink"
        )
    wanted = _merges_wanted(vocab_size, names)
    merging = _Merging.of(options)
    words = count(pieces, core.pattern, names, options)
    return _finished(merging.learn(words, wanted, merges, core), vocab_size)


@dataclass(frozen=True)
class _Merging:
    """How merges are learned, checked before any work."""

    tie_break: TieBreak
    min_count: int
    max_token_bytes: int | None
    progress: Progress | None

    @classmethod
    def of(cls, options: MergeOptions) -> _Merging:
        longest = options.get("max_token_bytes")
        for name in ("min_count", "max_token_bytes"):
            value: Any = options.get(name)
            if value is not None and _number(name, value) < 1:
                raise TrainingError(f"{name}={value} should be at least 1")
        return cls(
            known.tie_break(options.get("tie_break", "smallest-ids")),
            _number("min_count", options.get("min_count", 1)),
            None if longest is None else _number("max_token_bytes", longest),
            options.get("progress"),
        )

    def learn(
        self,
        words: WordCounter,
        merges: int,
        initial_merges: Sequence[tuple[int, int]] = (),
        like: CoreTokenizer | None = None,
    ) -> CoreTokenizer:
        return words.learn(
            merges,
            self.tie_break,
            self.min_count,
            self.max_token_bytes,
            list(initial_merges),
            self.progress,
            like,
        )


def _number(name: str, value: SupportsIndex) -> int:
    number = index(value)
    if not 0 <= number < 1 << 63:
        raise TrainingError(f"{name}={known.shown(value)} is out of range; expected 0 or more")
    return number


def characters(source: Source, special_tokens: Sequence[str]) -> CoreTokenizer:
    """Collect the alphabet of a source. ``Tokenizer.characters`` documents it."""
    names = _names(special_tokens)
    alphabet: set[str] = set()
    for piece in documents(source, "Tokenizer.characters(text.encode())"):
        for text in sources.documents(piece) if isinstance(piece, FILES) else [piece]:
            string = text if isinstance(text, str) else _utf8(text, piece)
            for name in names:
                string = string.replace(name, "")
            alphabet.update(string)
    if not alphabet:
        raise TrainingError("the text is empty, so there are no characters to make tokens of")
    return CoreTokenizer.characters("".join(sorted(alphabet)), names)


def _utf8(text: Text, piece: Piece) -> str:
    if not _is_buffer(text) or memoryview(cast("bytes", text)).itemsize != 1:
        raise TextError(f"text must be str, bytes or a buffer of bytes, found {type(text).__name__}")
    try:
        return bytes(cast("bytes", text)).decode()
    except UnicodeDecodeError as error:
        where = f"{piece}" if isinstance(piece, Path) else "the text"
        raise TextError(
            f"{where} is not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}), so it has no "
            "characters to make tokens of; a byte-level tokenizer takes any bytes"
        ) from None


def count(
    pieces: Iterable[Piece], pattern: Pattern, special_tokens: Sequence[str], options: ExtendOptions
) -> WordCounter:
    """Count the pre-tokens of files and texts. Of the options those that concern merging are not used."""
    weights = counted.weights(options.get("weights"), len(pieces) if isinstance(pieces, list) else None)
    limit, most = None, options.get("max_memory")
    if most is not None:
        limit = (known.memory("max_memory", most), Path(tempfile.gettempdir()))
    words = WordCounter(
        pattern, list(special_tokens), options.get("threads"), limit, options.get("separator")
    )
    progress = options.get("progress")
    total = size(pieces) if progress is not None and isinstance(pieces, list) else None
    done = 0

    def read(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress("counting", done, total)

    for number, piece in enumerate(pieces):
        if weights is not None:
            words.weigh(weights[number])
        if isinstance(piece, FILES):
            sources.fill(piece, words, report=read)
        else:
            for part in [piece] if progress is None else parts(piece):
                words.push(part)
                read(len(part))
        words.end_file()
    return words


def size(pieces: Iterable[Piece]) -> int | None:
    """Return how much is to be read, in bytes as they lie on disk; None where a pipe hides its length."""
    pieces = list(pieces)
    if not sources.are_regular(piece for piece in pieces if isinstance(piece, FILES)):
        return None
    return sum(sources.size(piece) if isinstance(piece, FILES) else len(piece) for piece in pieces)


def parts(text: Text) -> Iterator[Text]:
    """Yield a text in parts, so that progress is told within a long one. A ``str`` cannot be cut for free."""
    if isinstance(text, bytes):
        view = memoryview(text)
        for start in range(0, len(view), PART_BYTES):
            yield view[start : start + PART_BYTES]
    else:
        yield text


def _names(special_tokens: Sequence[str]) -> list[str]:
    if isinstance(special_tokens, str):
        raise TrainingError(
            f"special_tokens is a list of strings, found one string; write [{known.shown(special_tokens)}]"
        )
    if isinstance(special_tokens, Mapping):
        raise TrainingError(
            "special_tokens is a list of strings, whose ids follow the last merge; found a mapping to ids: "
            "for ids of your own train with special_tokens=[] and call with_special_tokens({…}) on the result"
        )
    if isinstance(special_tokens, (set, frozenset)):
        raise TrainingError(
            "special_tokens is a list of strings, found a set, which has no order that their ids could "
            f"follow; write {known.shown(sorted(special_tokens))}"
        )
    return list(special_tokens)


def _check_whole(vocab_size: object) -> None:
    if isinstance(vocab_size, bool) or not isinstance(vocab_size, SupportsIndex):
        raise TrainingError(
            f"vocab_size={known.shown(vocab_size)} is not a whole number; give one such as 512"
        )


def _merges_wanted(vocab_size: int, special_tokens: Sequence[str]) -> int:
    least = 256 + len(special_tokens)
    _check_whole(vocab_size)
    if vocab_size < least:
        raise TrainingError(
            f"vocab_size={vocab_size} is too small: the 256 bytes and the special tokens "
            f"({len(special_tokens)}) need at least {least}"
        )
    if vocab_size > GREATEST_ID + 1:
        raise TrainingError(
            f"vocab_size={vocab_size} is too large; a vocabulary has at most {GREATEST_ID + 1:,} ids"
        )
    return vocab_size - least


def _finished(core: CoreTokenizer, vocab_size: int) -> CoreTokenizer:
    if core.vocab_size < vocab_size:
        reason = (
            "all tokens together would be longer than a vocabulary can hold; for a larger one limit their "
            "length (max_token_bytes)"
            if core.is_full
            else "no pair is left to merge; for a larger vocabulary give more text"
        )
        warnings.warn(
            f"training stopped at {core.vocab_size} of {vocab_size} tokens: {reason}",
            EarlyStopWarning,
            stacklevel=4,
        )
    return core
