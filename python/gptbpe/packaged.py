"""The encodings that come with the package, checked against their hash before they are used."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import NamedTuple

from gptbpe._core import CoreTokenizer
from gptbpe.errors import TokenizerError, TokenizerFileError


class Encoding(NamedTuple):
    """Where an encoding's data is, and the SHA-256 of that file."""

    file: str
    sha256: str


_R50K = Encoding("r50k_base.gptbpe", "0511b322c8af7c1f33e7513769bf7818d9c9050628c74e581f1ce4ae1a91f3d2")

ENCODINGS: dict[str, Encoding] = {
    "gpt2": _R50K,
    "r50k_base": _R50K,
    "p50k_base": Encoding(
        "p50k_base.gptbpe", "6b355e7f636e979a358fd8080f5963cdb9d910bf7da45bebf263cf66d5752546"
    ),
    "cl100k_base": Encoding(
        "cl100k_base.gptbpe", "4e46e071d3a620e2451b021aaa186c996edf39507628ab4b75840be138bded8d"
    ),
    "o200k_base": Encoding(
        "o200k_base.gptbpe", "7985d2cc1c9bee31bffe850f58a60f6fd9acfb5d4983fe41066bbdc4be1574c7"
    ),
}
"""Name -> data. ``gpt2`` is ``r50k_base``: the same ranks, pattern and special token."""


def names() -> list[str]:
    """Return the names that ``Tokenizer.get`` knows."""
    return list(ENCODINGS)


@lru_cache(maxsize=len(ENCODINGS))
def get(name: str) -> CoreTokenizer:
    """Load a packaged encoding; the second call returns the first one's."""
    entry = ENCODINGS.get(name)
    if entry is None:
        raise TokenizerError(
            f"no packaged encoding is named {name!r}; there are {', '.join(ENCODINGS)}; "
            "files are read by Tokenizer.load"
        )
    data = resources.files("gptbpe").joinpath("data", entry.file).read_bytes()
    found = sha256(data).hexdigest()
    if found != entry.sha256:
        raise TokenizerFileError(
            f"the packaged encoding {entry.file} is damaged (sha256 {found[:12]}…, expected "
            f"{entry.sha256[:12]}…); reinstall gptbpe"
        )
    return CoreTokenizer.read_compact(data, entry.file)
