"""A short, seeded run of ``fuzz_tiktoken.py``, which compares with tiktoken on any number of strings."""

from __future__ import annotations

import pytest

pytest.importorskip("tiktoken")
import fuzz_tiktoken


def test_random_strings_give_equal_ids() -> None:
    counts, differences = fuzz_tiktoken.fuzz(10_000, seed=5, patterns=20)
    assert differences == []
    assert counts["strings"] == 10_000
    assert counts["encodings"] == 27
