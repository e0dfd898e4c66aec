"""Names of a package that are imported when they are first asked for.

Everything that computes imports numpy, and in `gptmodel` torch, which takes seconds; a mistyped word on the
command line is answered without them. So these packages name what they have, and import it when it is asked
for: ``gptmodel.model.config`` needs no torch, and ``from gptmodel.model import GPT`` imports it.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazily"]

TOOLS = {"TYPE_CHECKING", "lazily", "annotations"}
"""What a package imports to be written this way, and nobody looks for in it."""


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` (PEP 562) of ``package``: its names, and the modules in its folder.

    ``homes`` says in which module of the package each name is defined.

    >>> get, names = lazily("json", {"JSONDecodeError": "decoder"})
    >>> get("JSONDecodeError").__name__, "scanner" in names()
    ('JSONDecodeError', True)
    """

    def modules() -> set[str]:
        found = pkgutil.iter_modules(sys.modules[package].__path__)
        return {module.name for module in found if not module.name.startswith("_")}

    def get(name: str) -> Any:
        if name not in homes and (name.startswith("_") or name not in modules()):
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        try:
            module = importlib.import_module(f"{package}.{homes.get(name, name)}")
        except ModuleNotFoundError as error:
            _explain(error)
            raise
        value = getattr(module, name) if name in homes else module
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *modules()} - TOOLS)

    return get, names


def _explain(error: ModuleNotFoundError) -> None:
    """Raise MissingExtraError where an optional package is what is missing."""
    from gptbpe import extras
    from gptbpe.errors import MissingExtraError

    if error.name in extras.OPTIONAL:
        raise MissingExtraError(extras.missing(error.name)) from error
