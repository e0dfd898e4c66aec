"""Split patterns that a ``tokenizer.json`` may hold, against the Oniguruma inside Hugging Face's tokenizers.

``format/json/oniguruma.rs`` takes the constructs that mean the same to both and refuses the rest. Here each
of its atoms is compared over all code points, and random patterns over random texts.
"""

from __future__ import annotations

import hashlib
import json
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptbpe import Tokenizer
from gptbpe.errors import TokenizerFileError

tokenizers = pytest.importorskip("tokenizers")

ATOMS: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent.parent / "data" / "oniguruma.toml").read_text(encoding="utf-8")
)["atom"]
EVERY_CHARACTER = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)

# fmt: off
PIECES = [
    "a", "b", "s", "t", "S", "f", "i", "é", "ſ", "ß", "'", " ", "\n", "1", "ff", "st", ".", "[ab]", "[a-t]",
    "[^a]", "[-a]", r"[\r\n]", r"[^\s\p{L}]", r"\s", r"\S", r"\d", r"\w", r"\b", r"\p{L}", r"\p{N}",
    r"\p{Lu}", r"\p{M}",
]
WITHOUT_CASE = ["a", "s", "t", "f", "i", "l", "k", "[sk]", "'", "|", "st", "ff", "[a-f]"]
QUANTIFIERS = [
    "", "", "", "", "?", "*", "+", "+", "{2}", "{1,3}", "{2,}", "??", "*?", "+?", "{1,2}?", "++", "*+", "?+",
    "{2}?",
]
LAST = ["", "", r"|\s+(?!\S)|\s", r"|a+(?![^a])|a", r"|\s+\z|\s"]
CHARACTERS = "aabbssttSTffil'  \n\r1éſßßﬆﬀK²\u0301Ak☺"
# fmt: on


def split_by(regex: str, behavior: str) -> Any:
    return tokenizers.pre_tokenizers.Split(tokenizers.Regex(regex), behavior, invert=behavior == "removed")


@pytest.mark.parametrize("atom", ATOMS, ids=lambda atom: atom["regex"])
def test_an_atom_holds_what_is_recorded(atom: dict[str, Any]) -> None:
    pieces = [piece for piece, _ in split_by(atom["regex"], "removed").pre_tokenize_str(EVERY_CHARACTER)]
    assert len(pieces) == atom["count"]
    assert hashlib.sha256("".join(pieces).encode()).hexdigest() == atom["sha256"]


def random_pattern(rng: random.Random) -> str:
    def alternatives(depth: int) -> str:
        branches = [range(rng.randint(1, 3)) for _ in range(rng.randint(1, 3))]
        return "|".join("".join(element(depth) for _ in branch) for branch in branches)

    def element(depth: int) -> str:
        kind = rng.random()
        if kind < 0.12 and depth:
            atom = "(" + rng.choice(["", "?:"]) + alternatives(depth - 1) + ")"
        elif kind < 0.22:
            atom = "(?i:" + "".join(rng.choices(WITHOUT_CASE, k=rng.randint(1, 3))) + ")"
        else:
            atom = rng.choice(PIECES)
        return atom + rng.choice(QUANTIFIERS)

    return alternatives(2) + rng.choice(LAST)


def test_what_is_taken_splits_alike(make_file: Callable[[str], bytes]) -> None:
    rng = random.Random(7)
    taken = 0
    for _ in range(2000):
        regex = random_pattern(rng)
        try:
            tokenizer = Tokenizer.from_bytes(make_file(regex), "tokenizer.json")
        except TokenizerFileError:
            continue
        taken += 1
        text = "".join(rng.choices(CHARACTERS, k=rng.randint(1, 120)))
        theirs = split_by(regex, "isolated").pre_tokenize_str(text)
        assert tokenizer.split(text) == [text[start:stop].encode() for _, (start, stop) in theirs], regex
    assert taken > 300


@pytest.fixture(scope="module")
def make_file() -> Callable[[str], bytes]:
    """Return a function that makes the ``tokenizer.json`` of 256 bytes and a split pattern."""
    file = json.loads(Tokenizer.train_from_texts(["a"], 256, special_tokens=()).to_bytes())
    del file["model"]["fingerprint"]

    def make(regex: str) -> bytes:
        split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
        file["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}
        return json.dumps(file).encode()

    return make
