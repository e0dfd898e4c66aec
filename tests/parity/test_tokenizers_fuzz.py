"""A short, seeded run of ``fuzz_tokenizers.py``, which compares with tokenizers on any number of files."""

from __future__ import annotations

import fuzz_tokenizers
import pytest

pytest.importorskip("tokenizers")


def test_random_files_give_equal_ids() -> None:
    tally = fuzz_tokenizers.run(seed=5, files=100, texts=20)
    assert not tally.differences, "\n".join(map(str, tally.differences))
    assert tally.texts == 2000
