"""Names as people write them: of encodings, of models, of split patterns, of tie rules.

A name that can mean one thing only is taken for it: ``cl100k`` is ``cl100k_base``, ``gpt-4o`` is the encoding
of that model. Any other name is an error that lists the names there are and the nearest of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from gptbpe.errors import PatternError, TokenizerError, TrainingError
from gptbpe.types import Pattern, TieBreak

PATTERNS = ("gpt2", "cl100k", "o200k", "llama3", "qwen2", "nanochat", "deepseek", "none")
"""The named split patterns, which the core defines."""

TIE_BREAKS: tuple[TieBreak, ...] = ("smallest-ids", "huggingface", "bytes", "first-seen")

MODELS = {
    "gpt2": "gpt2 gpt-2",
    "r50k_base": (
        "davinci curie babbage ada text-davinci-001 text-curie-001 text-babbage-001 text-ada-001 "
        "text-similarity-davinci-001 text-similarity-curie-001 text-similarity-babbage-001 "
        "text-similarity-ada-001 text-search-davinci-doc-001 text-search-curie-doc-001 "
        "text-search-babbage-doc-001 text-search-ada-doc-001 code-search-babbage-code-001 "
        "code-search-ada-code-001"
    ),
    "p50k_base": (
        "text-davinci-003 text-davinci-002 code-davinci-002 code-davinci-001 code-cushman-002 "
        "code-cushman-001 davinci-codex cushman-codex"
    ),
    "p50k_edit": "text-davinci-edit-001 code-davinci-edit-001",
    "cl100k_base": (
        "gpt-4 gpt-3.5-turbo gpt-3.5 gpt-35-turbo davinci-002 babbage-002 text-embedding-ada-002 "
        "text-embedding-3-small text-embedding-3-large"
    ),
    "o200k_base": "o1 o3 o4-mini gpt-5 gpt-4.1 gpt-4o",
}
"""Encoding -> the models of OpenAI that use it, as tiktoken 0.14.0 knows them."""

FAMILIES = {
    "o200k_base": "o1- o3- o4-mini- gpt-5 gpt-4.5- gpt-4.1- chatgpt-4o- gpt-4o- ft:gpt-4o",
    "o200k_harmony": "gpt-oss-",
    "cl100k_base": (
        "gpt-4- gpt-3.5-turbo- gpt-35-turbo- ft:gpt-4 ft:gpt-3.5-turbo ft:davinci-002 ft:babbage-002"
    ),
}
"""Encoding -> beginnings of the names of models that use it; the longest one decides."""

_OTHER_ENCODING_NAMES = {
    "gpt2-medium": "gpt2",
    "gpt2-large": "gpt2",
    "gpt2-xl": "gpt2",
    "distilgpt2": "gpt2",
    "gpt-3": "r50k_base",
}
_OTHER_PATTERN_NAMES = {
    "r50k": "gpt2",
    "p50k": "gpt2",
    "llama31": "llama3",
    "llama32": "llama3",
    "llama33": "llama3",
    "qwen": "qwen2",
    "qwen25": "qwen2",
    "qwen3": "qwen2",
    "deepseekv3": "deepseek",
    "deepseekr1": "deepseek",
}
_OTHER_TIE_BREAKS = {"hf": "huggingface", "tokenizers": "huggingface"}


def encoding_of_model(name: str) -> str | None:
    """Return the name of the encoding that a model of OpenAI uses, or None for other names.

    >>> encoding_of_model("gpt-4o-2024-05-13")
    'o200k_base'
    """
    for encoding, models in MODELS.items():
        if name in models.split():
            return encoding
    beginnings = ((len(start), encoding) for encoding, all in FAMILIES.items() for start in all.split()
                  if name.startswith(start))  # fmt: skip
    return max(beginnings, default=(0, None))[1]


def encoding(name: str, known: Iterable[str]) -> str:
    """Return which of the packaged encodings ``known`` a name means.

    Raises:
        TokenizerError: none of them, or one that is not packaged.

    >>> [encoding(name, ["gpt2", "cl100k_base", "o200k_base"]) for name in ("cl100k", "GPT-2", "gpt-4o")]
    ['cl100k_base', 'gpt2', 'o200k_base']
    """
    known = list(known)
    if name in known:
        return name
    meant = _encoding(name.strip().casefold(), known) if isinstance(name, str) else None
    if meant in known:
        return meant
    if meant is not None:
        raise TokenizerError(
            f"{shown(name)} uses the encoding {meant}, which is made from a packaged one: "
            f"gptbpe.compat.tiktoken.get_encoding({meant!r})"
        )
    raise TokenizerError(
        f"no packaged encoding is named {shown(name)}{did_you_mean(name, known)}; there are "
        f"{', '.join(known)}; files and folders are read by Tokenizer.load"
    )


def _encoding(name: str, known: list[str]) -> str | None:
    spelt = name.replace("-", "_")
    for candidate in (spelt, f"{spelt}_base", spelt.replace("_", "")):
        if candidate in known:
            return candidate
    if spelt in ("p50k_edit", "o200k_harmony"):
        return spelt
    model = name.removeprefix("openai/").removeprefix("openai-community/")
    model = re.sub(r"^gpt-?(?=[345])", "gpt-", model)  # gpt4, gpt4o and gpt3.5
    return _OTHER_ENCODING_NAMES.get(model) or encoding_of_model(model)


def pattern(given: Pattern) -> Pattern:
    r"""Return the name that the core has for a pattern's name; what is a regex stays what it is.

    Raises:
        PatternError: it can only be a name, and there is no such name.

    >>> pattern("cl100k_base"), pattern("gpt-4o"), pattern(r"\w+|\W")
    ('cl100k', 'o200k', '\\w+|\\W')
    """
    # As a regex a word matches nothing but itself, so it is meant as a name.
    if not isinstance(given, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", given):
        return given
    name = given.casefold()
    spelt = name.replace("-", "_").removesuffix("_base")
    for candidate in (spelt, spelt.replace("_", "")):
        candidate = _OTHER_PATTERN_NAMES.get(candidate, candidate)
        if candidate in PATTERNS:
            return candidate
    encoding = encoding_of_model(name)
    if encoding is not None:
        return pattern(encoding.split("_")[0])
    raise PatternError(
        f"no split pattern is named {shown(given)}{did_you_mean(given, PATTERNS)}; there are "
        f"{', '.join(PATTERNS)}; a regex that is one word matches nothing else, so it is not taken for one"
    )


def tie_break(given: str) -> TieBreak:
    """Return the name that the core has for a tie rule.

    Raises:
        TrainingError: there is no such rule.

    >>> tie_break("hugging-face"), tie_break("first_seen")
    ('huggingface', 'first-seen')
    """
    name = str(given).casefold().replace("_", "-").replace(" ", "-")
    for candidate in (name, name.replace("-", ""), _OTHER_TIE_BREAKS.get(name)):
        if candidate in TIE_BREAKS:
            return candidate
    raise TrainingError(
        f"tie_break={shown(given)} is unknown{did_you_mean(given, TIE_BREAKS)}; expected "
        f"{', '.join(TIE_BREAKS)}"
    )


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the part of a sentence that names the nearest of the known names, or nothing.

    >>> did_you_mean("gtp2", ["gpt2", "cl100k_base"])
    ", did you mean 'gpt2'?"
    """
    near = get_close_matches(str(name)[:MOST_SHOWN].casefold(), known, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


MOST_SHOWN = 100
"""So many characters of a value fit in a message."""


def shown(value: object) -> str:
    """Return ``repr(value)``, cut where it is long: a message stays readable whatever was given.

    >>> shown("gtp2"), len(shown("x" * 5_000_000))
    ("'gtp2'", 101)
    """
    text = repr(value[:MOST_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"


UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
MEMORY = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE | re.ASCII)


def memory(argument: str, size: int | str) -> int:
    """Return a size of memory in bytes. Units are powers of 1024: ``"64M"``, ``"1.5 GiB"``, ``4096``.

    >>> memory("max_memory", "1.5k"), memory("max_memory", 64)
    (1536, 64)
    """
    found = MEMORY.fullmatch(size) if isinstance(size, str) else None
    if found:
        number, unit = found.groups()
        bytes_ = int(float(number) * UNITS[unit.lower()])
    elif isinstance(size, int) and not isinstance(size, bool):
        bytes_ = size
    else:
        bytes_ = 0
    if not 1 <= bytes_ < 1 << 63:
        raise TrainingError(
            f"{argument}={shown(size)} is not a size of memory; give bytes, or a number with a unit such as "
            "512M or 2G"
        )
    return bytes_
