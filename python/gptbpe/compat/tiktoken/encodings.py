"""OpenAI's encodings, made of the packaged vocabularies when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gptbpe.compat.tiktoken.encoding import ENCODINGS, Encoding
from gptbpe.errors import TokenizerError
from gptbpe.names import shown
from gptbpe.tokenizer import Tokenizer
from gptbpe.types import END_OF_TEXT

__all__ = ["ENCODINGS", "ENCODING_CONSTRUCTORS", "get_encoding", "list_encoding_names"]

_FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_HARMONY_NAMES = ("return", "constrain", "", "channel", "start", "end", "message", "", "", "", "call")


def _harmony_special_tokens() -> dict[str, int]:
    special_tokens = {END_OF_TEXT: 199999, "<|endofprompt|>": 200018, "<|startoftext|>": 199998}
    special_tokens |= {f"<|reserved_{id}|>": id for id in (200000, 200001)}
    for id, name in enumerate(_HARMONY_NAMES, start=200002):
        special_tokens[f"<|{name or f'reserved_{id}'}|>"] = id
    # One of these, 200018, is a second name of <|endofprompt|>'s id.
    return special_tokens | {f"<|reserved_{id}|>": id for id in range(200013, 201088)}


class Packaged:
    """Makes one encoding of a packaged vocabulary.

    Called, it returns the arguments of :class:`Encoding`, as tiktoken's constructors do.
    """

    def __init__(self, name: str, base: str, special_tokens: Mapping[str, int] | None = None) -> None:
        self.name = name
        self.base = base
        self.special_tokens = special_tokens

    def __call__(self) -> dict[str, Any]:
        """Return the arguments of :class:`Encoding`."""
        encoding = self.make()
        return {
            "name": self.name,
            "pat_str": encoding._pat_str,
            "mergeable_ranks": encoding._mergeable_ranks,
            "special_tokens": encoding._special_tokens,
        }

    def make(self) -> Encoding:
        """Return the encoding."""
        base = Encoding.from_tokenizer(Tokenizer.get(self.base), self.name)
        if self.special_tokens is None:
            return base
        return Encoding(
            self.name,
            pat_str=base._pat_str,
            mergeable_ranks=base._mergeable_ranks,
            special_tokens=dict(self.special_tokens),
        )


ENCODING_CONSTRUCTORS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "gpt2": Packaged("gpt2", "gpt2"),
    "r50k_base": Packaged("r50k_base", "r50k_base"),
    "p50k_base": Packaged("p50k_base", "p50k_base"),
    "p50k_edit": Packaged(
        "p50k_edit", "p50k_base", {END_OF_TEXT: 50256} | {name: 50281 + i for i, name in enumerate(_FIM)}
    ),
    "cl100k_base": Packaged("cl100k_base", "cl100k_base"),
    "o200k_base": Packaged("o200k_base", "o200k_base"),
    "o200k_harmony": Packaged("o200k_harmony", "o200k_base", _harmony_special_tokens()),
}
"""Name -> what makes the arguments of :class:`Encoding`. A program may add its own."""


def get_encoding(encoding_name: str) -> Encoding:
    """Return an encoding by tiktoken's name; the second call returns the first one's.

    Raises:
        ValueError: no encoding has this name.

    >>> get_encoding("cl100k_base").encode("hello world")
    [15339, 1917]
    """
    if not isinstance(encoding_name, str):
        raise TokenizerError(f"an encoding's name must be a string, found {shown(encoding_name)}")
    made = ENCODINGS.get(encoding_name)
    if made is not None:
        return made
    constructor = ENCODING_CONSTRUCTORS.get(encoding_name)
    if constructor is None:
        known = ", ".join(ENCODING_CONSTRUCTORS)
        raise TokenizerError(f"no encoding is named {shown(encoding_name)}; there are {known}")
    made = constructor.make() if isinstance(constructor, Packaged) else Encoding(**constructor())
    # No lock, which a fork could find taken: of two threads that make it, one's is kept.
    return ENCODINGS.setdefault(encoding_name, made)


def list_encoding_names() -> list[str]:
    """Return the names that :func:`get_encoding` knows."""
    return list(ENCODING_CONSTRUCTORS)
