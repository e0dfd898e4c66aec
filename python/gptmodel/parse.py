"""JSON and TOML from outside, and one line about what is wrong with them.

A parser goes down one level of its stack for each level of the text, so text of a hundred thousand brackets
ends it with a RecursionError. Here that is a ValueError like every other mistake in the text.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from gptmodel.errors import ConfigError, did_you_mean
from gptmodel.synonyms import called_here

__all__ = ["complaint", "parse_json", "parse_toml"]

LONGEST_VALUE = 80
"""More characters than this of a wrong value are not repeated in a message."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON document. Raises ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML document. Raises ValueError.

    >>> parse_toml("x = " + "[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def complaint(
    error: ValidationError, origins: Mapping[str, str] | None = None, *, known: Collection[str] = ()
) -> str:
    """The first complaint of pydantic as one line, with the place that the bad value came from.

    ``origins`` are those places by dotted name, such as ``{"train.seed": "--seed"}``; ``known`` are the names
    that an unknown one may have meant.
    """
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, ConfigError):  # a ModelConfig's line; what it was made of knows the field
        inner = inner.__context__
    if isinstance(inner, ValidationError):  # a model that a validator of another one built
        first = inner.errors(include_url=False)[0]
        path += [str(part) for part in first["loc"]]
    if first["type"] == "missing":
        return f"{path[-1]} is missing: give it a value"
    if first["type"] == "extra_forbidden":
        hint = called_here(path[-1], known) or did_you_mean(path[-1], known)
        every = f"; the fields are {', '.join(known)}" if known else ""
        return f"unknown field {path[-1]!r}{hint or every}"
    where = ".".join(path[:2])
    origin = f" (from {origins[where]})" if origins and where in origins else ""
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "value_error":
        return f"{where}: {message}" if len(path) > 1 else message
    expected = f"should be {message}" if first["msg"].startswith("Input should be ") else message.lower()
    return f"{path[:2][-1] if path else 'it'} = {_short(first['input'])}{origin}: {expected}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
