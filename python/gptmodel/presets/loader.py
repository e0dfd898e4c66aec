"""Presets are TOML files beside this one: a ``[model]`` table with the fields of `ModelConfig`, and the
trainer's tables.

They are read as plain tables and validated only after files, environment and command line were laid over
them, so an override never meets a half-built configuration.
"""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from gptmodel.presets.depth import shape


def preset(name: str, *, depth: int | None = None) -> dict[str, Any]:
    """The tables of a preset, free to change. `depth` is the one dial of ``gpt2`` and ``modern``.

    Raises:
        ValueError: no preset has that name, or `depth` was given for one that has no such dial.

    Example:
        >>> preset("nano")["model"]["width"]
        384
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no preset is called {name!r}: {hint}there are {', '.join(names())}")
    text = resources.files("gptmodel.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    if depth is not None:
        tables["model"] |= shape(name, depth)
    return tables


@cache
def names() -> tuple[str, ...]:
    """All presets, in alphabetical order."""
    folder = resources.files("gptmodel.presets")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))
