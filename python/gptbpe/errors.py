"""Every exception that gptbpe raises, and how they hang together.

::

    Exception
    └── GptBpeError                  catch this to catch everything below
        ├── InternalError            a bug in gptbpe; the message says what to report
        ├── TextError                + ValueError   a str that is not text (lone surrogate), or not str/bytes
        ├── UnknownTokenError        + ValueError   an id that no token has; .index, .id, .vocab_size
        ├── UnknownCharacterError    + ValueError   a character outside a character tokenizer's alphabet
        ├── SpecialTokenError        + ValueError   text holds a special token that was not allowed
        ├── PatternError             + ValueError   a split pattern that cannot be compiled
        ├── TrainingError            + ValueError   a vocabulary that cannot be trained as asked
        │   ├── CountsFileError                     a damaged file of counts; .path, .offset
        │   └── CountsMismatchError                 counts of different patterns or special tokens
        ├── TokenizerError           + ValueError   parts that make no tokenizer (clashing ids, missing bytes)
        │   └── TokenizerFileError                  a tokenizer file that is damaged or of another kind
        ├── ShardError               + ValueError   anything wrong with token shards
        │   ├── ShardFormatError                    no shard of a known format, or an unfinished folder
        │   │   └── ShardTruncatedError             a file of another size; .path, .expected, .found
        │   ├── ShardChecksumError                  damaged bytes; .path, .offset
        │   ├── ShardMismatchError                  parts that do not belong together
        │   ├── ShardExistsError                    the folder holds other shards
        │   └── ShardLockedError                    another process is writing there
        └── MissingExtraError        + ImportError  an optional dependency is not installed

Warning:
    └── UserWarning
        └── EarlyStopWarning         training ended before the vocabulary was full

Files that cannot be read or written are plain ``OSError`` (``FileNotFoundError``, ``IsADirectoryError``, …),
as everywhere in Python.
"""

from __future__ import annotations


class GptBpeError(Exception):
    """The base of every exception of this package."""


class InternalError(GptBpeError):
    """A bug in gptbpe: the compiled core panicked. The message says where; please report it."""


class TextError(GptBpeError, ValueError):
    """Text that cannot be read as text: a ``str`` with a lone surrogate (the message gives its position)."""


class UnknownTokenError(GptBpeError, ValueError):
    """An id that names no token.

    ``index`` is its place in the sequence, ``id`` the value as given, ``vocab_size`` one more than the
    largest id.
    """

    def __init__(
        self, message: str, index: int | None = None, id: object = None, vocab_size: int | None = None
    ) -> None:
        super().__init__(message, index, id, vocab_size)
        self.index = index
        self.id = id
        self.vocab_size = vocab_size

    def __str__(self) -> str:
        """Return the sentence alone."""
        return str(self.args[0])


class UnknownCharacterError(GptBpeError, ValueError):
    """A character that a character tokenizer never saw."""


class SpecialTokenError(GptBpeError, ValueError):
    """Text holds the name of a special token that the call did not allow."""


class PatternError(GptBpeError, ValueError):
    """A split pattern that is not a regex, or that neither the scanner nor the automaton can run."""


class TrainingError(GptBpeError, ValueError):
    """Training was asked for something impossible: a vocabulary below 257, counts that overflow."""


class CountsFileError(TrainingError):
    """A file of counts that is damaged, cut, or of another kind: ``path``, and ``offset`` in bytes."""

    def __init__(self, message: str, path: object = None, offset: int | None = None) -> None:
        super().__init__(message, path, offset)
        self.path, self.offset = path, offset

    def __str__(self) -> str:
        """Return the sentence alone."""
        return str(self.args[0])


class CountsMismatchError(TrainingError):
    """Counts that do not go together: other patterns or special tokens made them."""


class TokenizerError(GptBpeError, ValueError):
    """Parts that make no tokenizer: two tokens with one id, a byte without one, an unknown name."""


class TokenizerFileError(TokenizerError):
    """A tokenizer file that is damaged, of another kind, or that says what this package cannot do."""


class ShardError(GptBpeError, ValueError):
    """Anything wrong with token shards."""


class ShardFormatError(ShardError):
    """No shard or manifest of a format that is known here, or a folder whose writing never ended."""


class ShardChecksumError(ShardError):
    """Bytes on disk differ from the checksum written with them: ``path``, and ``offset`` in bytes."""

    def __init__(self, message: str, path: object = None, offset: int | None = None) -> None:
        super().__init__(message, path, offset)
        self.path, self.offset = path, offset

    def __str__(self) -> str:
        """Return the sentence alone."""
        return str(self.args[0])


class ShardMismatchError(ShardError):
    """Parts that do not belong together: shards of another tokenizer, a resume state of another plan."""


class ShardTruncatedError(ShardFormatError):
    """A shard file has another size than it should: ``path``, ``expected`` and ``found`` (bytes)."""

    def __init__(
        self, message: str, path: object = None, expected: int | None = None, found: int | None = None
    ) -> None:
        super().__init__(message, path, expected, found)
        self.path, self.expected, self.found = path, expected, found

    def __str__(self) -> str:
        """Return the sentence alone."""
        return str(self.args[0])


class ShardExistsError(ShardError):
    """The folder already holds other shards, and replacing them was not asked for."""


class ShardLockedError(ShardError):
    """Another process is writing in the folder."""


class MissingExtraError(GptBpeError, ImportError):
    """An optional dependency is missing; the message gives the ``pip install`` line."""


class EarlyStopWarning(UserWarning):
    """Training ended early: no pair was left to merge, or the tokens grew too long, as the message says."""
