"""Real and hostile texts, which the comparisons with other programs share."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable

import fetch_data
import pytest

CORPORA = [
    "bible46_10M", "de_10M", "enwiki_valid_5M", "hi_5M", "ja_15M", "ko_15M", "linux_60M", "novels_30M",
    "ru_15M", "th_10M", "tinyshakespeare", "tinystories_2MiB", "zh_20M",
]  # fmt: skip

# Pieces at which patterns, cases, marks and special tokens begin to differ.
ATOMS = [
    "a", "B", "é", "の", "1", "23", " ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "ſ", "'ſ", "!", "\u0301", "Ǆ",
    "ʰ", "²", "\u2028", "\xa0", "🦙", "/", "_", "<|endoftext|>", "<|endo", "\0", "\x85", "ß", "İ", "K",
]  # fmt: skip


def mix(count: int, seed: int = 1) -> str:
    choice = random.Random(seed).choice
    return "".join(choice(ATOMS) for _ in range(count))


@pytest.fixture(scope="session")
def mixed() -> Callable[[int, int], str]:
    """Return ``mixed(count, seed)``: that many random atoms in a row."""
    return mix


@pytest.fixture(scope="session")
def corpora() -> list[str]:
    """Return the names of the corpora that the comparisons read."""
    return CORPORA


@pytest.fixture(scope="session")
def texts(corpus: Callable[..., bytes]) -> Callable[[int], list[tuple[str, str]]]:
    """Return ``texts(limit)``: (name, text) of about ``limit`` bytes each, every corpus and hostile file."""

    def read(limit: int) -> list[tuple[str, str]]:
        found = [(name, corpus(name, limit).decode(errors="ignore")) for name in CORPORA]
        for folder in fetch_data.folders():
            for path in sorted((folder / "adversarial").glob("*")):
                with path.open("rb") as file:
                    found.append((path.name, file.read(limit).decode(errors="replace")))
        noise = random.Random(2).randbytes(limit // 2)
        found.append(("base64", base64.b64encode(noise).decode()))
        found.append(("no UTF-8", noise[: limit // 4].decode(errors="replace")))
        found.append(("minified", "".join(f"a[{n}]=b{n}(c,d);" for n in range(limit // 15))))
        run = limit // 20
        found.append(("mixed", mix(limit // 3)))
        found.append(("runs", " " * run + "x" + "\n" * run + "a" * limit + " \n" * run))
        return found

    return read
