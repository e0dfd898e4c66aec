"""What a user of gptmodel can run into: one base class, one class for each kind of answer.

The command line prints the message of any of these as one line and leaves with ``exit_code``; nothing else is
expected to reach it. Each message says what was expected, what was found and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GptModelError(Exception):
    """Base of every error that gptmodel raises on purpose."""

    exit_code = 2


class ConfigError(GptModelError, ValueError):
    """A setting is unknown, out of range, or does not fit with another."""


class DataError(GptModelError, ValueError):
    """Text or shards that cannot be trained on as asked: empty, too short, another tokenizer's."""


class CheckpointError(GptModelError, ValueError):
    """A checkpoint is missing, incomplete, damaged, or belongs to another run."""


class LockedError(GptModelError, OSError):
    """Another process works in the run's folder."""


class NonFiniteLossError(GptModelError, ArithmeticError):
    """The loss became NaN or infinite; the last good checkpoint is left as it was."""

    exit_code = 1


class InterruptedRunError(GptModelError):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved itself."""

    exit_code = 130


class RecordError(InterruptedRunError):
    """A run's record cannot be written: it stops, after it has saved itself if the disk took that."""

    exit_code = 2


class LostRankError(GptModelError):
    """Another process of a run on several has ended or does not answer."""

    exit_code = 1


class SaidElsewhereError(GptModelError):
    """An error of all processes of a run, which another one of them reports."""

    def __init__(self, error: GptModelError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The tail of a message: ``; did you mean 'small'?``, or nothing when no known word is near.

    >>> did_you_mean("smal", ["small", "large"])
    "; did you mean 'small'?"
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
