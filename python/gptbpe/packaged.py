"""The encodings that come with the package, checked against their hash before they are used."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import NamedTuple

from gptbpe._core import CoreTokenizer
from gptbpe.errors import TokenizerFileError
from gptbpe.names import encoding as meant


class Encoding(NamedTuple):
    """Where an encoding's data is, and the SHA-256 of that file."""

    file: str
    sha256: str


_R50K = Encoding("r50k_base.gptbpe", "8e5c4826291e3b54d8d71141eb63ce179350f194d085536897257ec5f152239f")

ENCODINGS: dict[str, Encoding] = {
    "gpt2": _R50K,
    "r50k_base": _R50K,
    "p50k_base": Encoding(
        "p50k_base.gptbpe", "22d0180b82e5c62bf58b0a920963f6d44af0cd39507ca7d87b698fe3519a7bcf"
    ),
    "cl100k_base": Encoding(
        "cl100k_base.gptbpe", "651e68c23a9306e2623b1a5a5166f78cc93619b198315d7a53389f130b00eaf1"
    ),
    "o200k_base": Encoding(
        "o200k_base.gptbpe", "e6452d400bc175cd52db102f5964f5135d5b43372964e3293fffaa91efa090e2"
    ),
}
"""Name -> data. ``gpt2`` is ``r50k_base``: the same ranks, pattern and special token."""


def names() -> list[str]:
    """Return the names that ``Tokenizer.get`` knows."""
    return list(ENCODINGS)


def get(name: str) -> CoreTokenizer:
    """Load a packaged encoding by any of its names; the second call returns the first one's."""
    return _load(meant(name, ENCODINGS))


@lru_cache(maxsize=len(ENCODINGS))
def _load(name: str) -> CoreTokenizer:
    entry = ENCODINGS[name]
    data = resources.files("gptbpe").joinpath("data", entry.file).read_bytes()
    found = sha256(data).hexdigest()
    if found != entry.sha256:
        raise TokenizerFileError(
            f"the packaged encoding {entry.file} is damaged (sha256 {found[:12]}…, expected "
            f"{entry.sha256[:12]}…); reinstall gptbpe"
        )
    return CoreTokenizer.read_compact(data, entry.file)
