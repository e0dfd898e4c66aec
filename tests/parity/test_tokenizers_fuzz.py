"""A short run of the fuzzer against Hugging Face's tokenizers; ``fuzz_tokenizers.py`` runs a long one."""

from __future__ import annotations

import pytest

pytest.importorskip("tokenizers")


def test_random_files_give_the_same_ids() -> None:
    import fuzz_tokenizers

    tally = fuzz_tokenizers.run(seed=5, files=100, texts=20)
    assert not tally.differences, "\n".join(map(str, tally.differences))
    assert tally.texts == 2000
