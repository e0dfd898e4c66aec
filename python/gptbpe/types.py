"""The types that the public functions speak of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias

from gptbpe.io import FileRange

if TYPE_CHECKING:
    import numpy.typing as npt

Text: TypeAlias = str | bytes | bytearray | memoryview
"""What is taken as text (at run time: any buffer of bytes)."""

Ids: TypeAlias = "Iterable[SupportsIndex] | npt.NDArray[Any]"
"""What is taken as ids: any iterable of integers, or a one-dimensional integer array."""

Names: TypeAlias = Literal["all"] | Iterable[str]
"""A choice of special tokens: ``"all"`` or their strings."""

Pattern: TypeAlias = str | Sequence[str] | None
"""A split pattern: a name, a regex, several regexes applied one after another, or None for no splitting."""

TieBreak: TypeAlias = Literal["smallest-ids", "huggingface", "bytes", "first-seen"]
"""Which of several pairs with the same count is merged first; see ``Tokenizer.train``."""

Source: TypeAlias = Text | os.PathLike[str] | Iterable[Text | os.PathLike[str] | FileRange]
"""What a vocabulary is learned from; ``Tokenizer.train`` says when a ``str`` is a file and when text."""

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called now and then as ``progress(phase, done, total)``; ``total`` is None where it is unknown."""

END_OF_TEXT = "<|endoftext|>"
"""The special token that a trained tokenizer has unless told otherwise, and the usual end of documents."""


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A string that stands for an id of its own, outside the merges, with the options of ``tokenizers``."""

    content: str
    """The string."""
    id: int
    """Its id."""
    special: bool = True
    """Matched only where a call allows it; a token that is not special is always matched."""
    normalized: bool = False
    """Looked for after those that are not normalized, in what they leave."""
    single_word: bool = False
    """Matched only where no word character (``\\w``) stands beside it."""
    lstrip: bool = False
    """Takes the white space before it along."""
    rstrip: bool = False
    """Takes the white space after it along."""
