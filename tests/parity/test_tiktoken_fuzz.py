"""A short, seeded run of ``fuzz_tiktoken.py``, which compares with tiktoken on any number of strings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tiktoken")
SCRIPT = Path(__file__).with_name("fuzz_tiktoken.py")


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_random_strings_give_equal_ids() -> None:
    counts, differences = load(SCRIPT).fuzz(10_000, seed=5, patterns=20)
    assert differences == []
    assert counts["strings"] == 10_000
    assert counts["encodings"] == 27
