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

HEAD_WIDTH = 128
"""Width of a head in `modern`; wider heads than GPT-2's 64 keep the attention kernels busier."""


def preset(name: str, *, depth: int | None = None) -> dict[str, Any]:
    """The tables of a preset, free to change. `depth` is the one dial of ``modern``.

    Raises:
        ValueError: no preset has that name, or `depth` was given for another one than ``modern``.

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
        if name != "modern":
            raise ValueError(f"depth is the dial of 'modern', not of {name!r}: set layers and width instead")
        tables["model"] |= modern(depth)
    return tables


@cache
def names() -> tuple[str, ...]:
    """All presets, in alphabetical order."""
    folder = resources.files("gptmodel.presets")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def modern(depth: int) -> dict[str, int]:
    """Layers, width and heads of a modern model with `depth` layers.

    The width is 64 per layer, rounded up to whole heads of 128: 12 layers are 768 wide with 6 heads, 20 are
    1,280 wide with 10. One number then scales a model along a line on which one set of training settings
    holds.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, not {depth}")
    heads = -(-64 * depth // HEAD_WIDTH)
    return {"layers": depth, "width": heads * HEAD_WIDTH, "heads": heads}
