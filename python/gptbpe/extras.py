"""Optional packages, and the command that installs one from where the reader of a message is.

``gptbpe`` comes from a checkout, a repository, a file or an index, and its extras come from the same place.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["OPTIONAL", "install", "missing"]

OPTIONAL = {
    "torch": "model",
    "safetensors": "model",
    "tensorboard": "model",
    "matplotlib": "model",
    "lightning": "lightning",
    "transformers": "hf",
    "tokenizers": "hf",
    "pyarrow": "parquet",
}
"""Optional package -> the extra that installs it."""

SOURCE = Path(__file__).resolve().parents[2]
"""The checkout, where this file lies in one."""


def install(extra: str) -> str:
    """Return the command that installs an extra, such as ``pip install -e '.[model]'`` in a checkout."""
    origin = _origin()
    url = origin.get("url", "")
    editable = []
    if "dir_info" in origin:
        what = f"{_shown(Path(url2pathname(urlsplit(url).path)))}[{extra}]"
        editable = ["-e"] * bool(origin["dir_info"].get("editable"))
    elif "vcs_info" in origin:
        what = f"gptbpe[{extra}] @ {origin['vcs_info']['vcs']}+{url}"
    else:
        what = f"gptbpe[{extra}] @ {url}" if url else f"gptbpe[{extra}]"
    return shlex.join([*_pip(), "install", *editable, what])


def missing(package: str) -> str:
    """Say that an optional package is missing, and what installs it."""
    return f"{package} is not installed: {install(OPTIONAL[package])}"


def _origin() -> dict[str, Any]:
    """Where this package was installed from (PEP 610); empty for an index."""
    try:
        text = metadata.distribution("gptbpe").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        text = None
    found: dict[str, Any] = json.loads(text) if text else {}
    if not found and (SOURCE / "pyproject.toml").exists():
        found = {"url": SOURCE.as_uri(), "dir_info": {"editable": True}}
    return found


def _shown(checkout: Path) -> str:
    return "." if checkout.exists() and checkout.samefile(Path.cwd()) else str(checkout)


def _pip() -> list[str]:
    """``pip``, or that of this interpreter where a virtual environment is used without being activated."""
    if sys.prefix == sys.base_prefix or os.environ.get("VIRTUAL_ENV") == sys.prefix:
        return ["pip"]
    program = Path(sys.executable)
    inside = program.is_relative_to(Path.cwd())
    return [str(program.relative_to(Path.cwd()) if inside else program), "-m", "pip"]
