"""Files of counts (``.pcnt``): pre-tokens and how often each occurs, made on any machine and added up on one.

:func:`gptbpe.count_pretokens` writes a file, ``Tokenizer.train_from_counts`` learns from any number of them.
The format is documented in the core's module ``train::runs``: sorted words under checksums, with the
pattern and the special tokens that made them, so files that were made differently are never added up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeAlias, cast

from gptbpe._core import CoreCountsFile
from gptbpe.errors import CountsMismatchError, TrainingError
from gptbpe.names import shown
from gptbpe.types import Pattern

Name: TypeAlias = str | os.PathLike[str]
Pairs: TypeAlias = Mapping[str | bytes, int] | Iterable[tuple[str | bytes, int]]
"""Counts as Python values."""

MOST = 2**64 - 1
"""The greatest count, and so the greatest weight."""


@dataclass(frozen=True)
class CountsFile:
    """What a file of counts holds.

    >>> import tempfile
    >>> from gptbpe import count_pretokens
    >>> path = Path(tempfile.mkdtemp()) / "low.pcnt"
    >>> counts = count_pretokens(b"low low lower", path)
    >>> counts.pretokens, counts.words, counts.pattern
    (3, 3, 'cl100k')
    >>> CountsFile.open(path) == counts
    True
    """

    path: Path
    """The file."""
    pattern: Pattern
    """What split the text: a name, a regex, several regexes, or None."""
    special_tokens: tuple[str, ...]
    """What ended documents and was not counted; a vocabulary that is trained from the file has these."""
    text_bytes: int
    """Bytes of text that were counted."""
    documents: int
    """Documents in that text."""
    words: int
    """Different pre-tokens."""
    pretokens: int
    """The sum of their counts."""
    pattern_fingerprint: str
    """Equal for patterns that are known to split every text alike, in hexadecimal."""
    file_bytes: int
    """The size of the file."""

    @classmethod
    def open(cls, path: Name) -> CountsFile:
        """Read what a file says of itself, and check that it is whole.

        Raises:
            FileNotFoundError: there is no such file.
            CountsFileError: it is no file of counts, was cut, or its header is damaged.
        """
        core = CoreCountsFile.open(Path(path))
        return cls(
            path=Path(path),
            pattern=core.pattern,
            special_tokens=tuple(core.special_tokens),
            text_bytes=core.text_bytes,
            documents=core.documents,
            words=core.words,
            pretokens=core.pretokens,
            pattern_fingerprint=core.pattern_fingerprint,
            file_bytes=core.file_bytes,
        )

    def check(self) -> None:
        """Read the file from the first byte to the last.

        Raises:
            CountsFileError: bytes contradict their checksum, or one another.
        """
        CoreCountsFile.open(self.path).check()


def given(counts: Name | Iterable[Name] | Pairs) -> tuple[list[Path], Pairs]:
    """Settle whether files or pairs were given: one of both is returned empty."""
    if isinstance(counts, str | os.PathLike):
        return [Path(counts)], ()
    if isinstance(counts, Mapping):
        return [], counts
    parts: Iterator[object] = iter(counts)
    for first in parts:
        if not isinstance(first, str | os.PathLike):
            return [], cast("Pairs", chain([first], parts))
        files = []
        for part in chain([first], parts):
            if not isinstance(part, str | os.PathLike):
                raise TrainingError(
                    f"expected files of counts only, found {shown(part)} after {os.fspath(first)!r}; give "
                    "either files or pairs of a pre-token and its count"
                )
            files.append(Path(part))
        return files, ()
    return [], ()


def expect(path: Path, pattern: Sequence[str] | Pattern, special_tokens: Sequence[str]) -> None:
    """Raise if a file was made with another pattern or other special tokens than a call asks for."""
    core = CoreCountsFile.open(path)
    if not core.is_split_by(pattern):
        raise CountsMismatchError(
            f"{path} was counted with the pattern {shown(core.pattern)}, and {shown(pattern)} is asked for; "
            "leave the pattern out to take that of the file, or count the text again"
        )
    if core.special_tokens != list(special_tokens):
        raise CountsMismatchError(
            f"{path} was counted with the special tokens {shown(core.special_tokens)}, and "
            f"{shown(list(special_tokens))} are asked for; leave them out to take those of the file, or "
            "count the text again"
        )


def weights(weights: Sequence[int] | None, sources: int | None) -> list[int] | None:
    """Check weights: an integer from 1 for each source. ``sources`` is None where their number is unknown."""
    if weights is None:
        return None
    if sources is None:
        raise TrainingError("weights go with a list of sources, found an iterator; give a list")
    checked = list(weights)
    if len(checked) != sources:
        raise TrainingError(
            f"found {len(checked)} weights for {sources} source{'' if sources == 1 else 's'}; give one "
            "for each"
        )
    for weight in checked:
        if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= MOST:
            raise TrainingError(
                "a weight is an integer from 1: how often each pre-token of its source counts; found "
                f"{shown(weight)}"
            )
    return checked
