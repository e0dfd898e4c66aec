"""Split patterns between the regex crate and the Oniguruma inside Hugging Face's tokenizers.

``pattern/oniguruma`` translates a pattern where it enters a ``tokenizer.json`` and where it leaves one. Here
each of its atoms is compared over all code points, and random patterns over random texts: those of files with
what tokenizers makes of them, our own with what tokenizers makes of the saved file and with what tiktoken
makes of the pattern.

    python tests/parity/test_oniguruma.py PATTERNS TEXTS SEED
"""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptbpe import Tokenizer
from gptbpe.errors import PatternError, TokenizerFileError

tokenizers = pytest.importorskip("tokenizers")
tiktoken = pytest.importorskip("tiktoken")

ROWS: dict[str, list[dict[str, Any]]] = tomllib.loads(
    (Path(__file__).parent.parent / "data" / "oniguruma.toml").read_text(encoding="utf-8")
)
EVERY_CHARACTER = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)

# fmt: off
PIECES = [
    "a", "b", "s", "t", "S", "f", "i", "é", "ſ", "ß", "'", " ", "\n", "1", "ff", "st", ".", "[ab]", "[a-t]",
    "[^a]", "[-a]", r"[\r\n]", r"[^\s\p{L}]", r"\s", r"\S", r"\d", r"\w", r"\W", r"\b", r"\p{L}", r"\p{N}",
    r"\p{Lu}", r"\p{M}", "$", "^", r"\A", r"\z", r"[\w.]", r"[^\w\s]", r"[a-t&&[^s]]", r"[^\w&&[^a]]",
    "[a[^b]]", "[^a[bs]]", r"[\p{L}&&[^\p{Han}]]", r"[\W\d]", r"\P{L}", "[^(\\s|[.,!é])]", r"\x{E9}",
    r"\u00e9",
]
ONLY_ONIGURUMA = [
    r"\h", r"\H", r"\N", r"\O", "(?m:.)", "(?m:a.)", "[[:alpha:]]", "[[:^punct:]]", r"[\h_]", r"\e",
    r"\p{^L}", r"\p{alnum}", r"\p{Word}", r"(?:\A|(?<=\n))",
]
ONLY_RUST = [
    r"\pL", r"\PN", "(?s:.)", "(?s:a.)", "(?m:^)", "(?m:$)", r"\B", r"[a-t--s]", r"[\w~~a-f]", "(?i:ß)",
    r"(?i:\w)", "(?i:[^s])", "(?i:st)", r"\U000000E9", "(?P<n>a|é)", "(?i:ﬀ|k)", "(?x: a b )", "(?U:a+)",
]
WITHOUT_CASE = ["a", "s", "t", "f", "i", "l", "k", "[sk]", "'", "|", "st", "ff", "[a-f]"]
QUANTIFIERS = [
    "", "", "", "", "?", "*", "+", "+", "{2}", "{1,3}", "{2,}", "??", "*?", "+?", "{1,2}?", "++", "*+", "?+",
    "{2}?",
]
ONIGURUMA_QUANTIFIERS = ["{1,3}+", "{2}+", "{,2}", "{0,2}", "{1,}+"]
LAST = ["", "", r"|\s+(?!\S)|\s", r"|a+(?![^a])|a", r"|\s+\z|\s", r"|\w+(?!\W)|\w", "|^a|.$"]
CHARACTERS = "aabbssttSTffil'  \n\n\r1éſßßﬆﬀK²¼_\u200d\u0301Ak☺中"
# fmt: on


def split_by(regex: str, behavior: str) -> Any:
    return tokenizers.pre_tokenizers.Split(tokenizers.Regex(regex), behavior, invert=behavior == "removed")


def check_recorded(row: dict[str, Any]) -> None:
    """Compare a row with tokenizers over all code points; the Rust tests compare it with the core."""
    runs = split_by(f"(?:{row['regex']})+", "removed").pre_tokenize_str(EVERY_CHARACTER)
    held = "".join(run for run, _ in runs)
    assert len(held) == row["count"], row["regex"]
    assert hashlib.sha256(held.encode()).hexdigest() == row["sha256"], row["regex"]


# All of them take minutes: the script at the end of this file does it.
@pytest.mark.parametrize("row", ROWS["atom"][:6] + ROWS["respelled"][:6], ids=lambda row: row["regex"])
def test_an_atom_holds_what_is_recorded(row: dict[str, Any]) -> None:
    check_recorded(row)


@pytest.mark.parametrize("row", ROWS["atom"] + ROWS["respelled"], ids=lambda row: row["regex"])
def test_an_atom_splits_alike(row: dict[str, Any]) -> None:
    """Over the planes of letters and signs; those above hold few properties."""
    text = "".join([*filter(lambda c: c < "\U00020000", EVERY_CHARACTER), "\U00020000\U000e0001\U000f0000"])
    regex = f"(?:{row['regex']})+"
    tokenizer = Tokenizer.from_bytes(file_maker()(regex), "tokenizer.json")
    assert tokenizer.split(text) == pieces_of(split_by(regex, "isolated"), text)


def random_pattern(rng: random.Random, more: list[str], more_quantifiers: list[str]) -> str:
    pieces = PIECES + more
    quantifiers = QUANTIFIERS + more_quantifiers

    def alternatives(depth: int) -> str:
        branches = [range(rng.randint(1, 3)) for _ in range(rng.randint(1, 3))]
        return "|".join("".join(element(depth) for _ in branch) for branch in branches)

    def element(depth: int) -> str:
        kind = rng.random()
        if kind < 0.12 and depth:
            atom = "(" + rng.choice(["", "?:"]) + alternatives(depth - 1) + ")"
        elif kind < 0.18:
            atom = "(?i:" + "".join(rng.choices(WITHOUT_CASE, k=rng.randint(1, 3))) + ")"
        else:
            atom = rng.choice(pieces)
        return atom + rng.choice(quantifiers)

    return alternatives(2) + rng.choice(LAST)


def random_texts(rng: random.Random, count: int) -> list[str]:
    return ["".join(rng.choices(CHARACTERS, k=rng.randint(1, 60))) for _ in range(count)]


def unless_it_gives_up(call: Callable[[str], Any], text: str) -> Any:
    """What another program makes of the text, or None: both backtrack, and panic after so many steps."""
    try:
        return call(text)
    except BaseException as error:
        if any(limit in str(error) for limit in ("retry-limit-in-match", "BacktrackLimitExceeded")):
            return None
        raise


def pieces_of(pre_tokenizer: Any, text: str) -> list[bytes] | None:
    pieces = unless_it_gives_up(pre_tokenizer.pre_tokenize_str, text)
    return pieces if pieces is None else [text[start:stop].encode() for _, (start, stop) in pieces]


def compare_loaded(rng: random.Random, patterns: int, texts: int) -> int:
    """Load files with random patterns; compare pieces with those of tokenizers. Returns how many loaded."""
    taken = 0
    make_file = file_maker()
    for _ in range(patterns):
        regex = random_pattern(rng, ONLY_ONIGURUMA, ONIGURUMA_QUANTIFIERS)
        try:
            tokenizer = Tokenizer.from_bytes(make_file(regex), "tokenizer.json")
        except TokenizerFileError:
            continue
        taken += 1
        theirs = split_by(regex, "isolated")
        saved = tokenizer.to_bytes()
        again = Tokenizer.from_bytes(saved)
        assert again.to_bytes() == saved, regex
        split = json.loads(saved)["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
        written = split_by(split, "isolated")
        for text in random_texts(rng, texts):
            expected = tokenizer.split(text)
            assert again.split(text) == expected, (regex, text)
            assert pieces_of(theirs, text) in (expected, None), (regex, text)
            assert pieces_of(written, text) in (expected, None), (regex, split, text)
    return taken


def compare_saved(rng: random.Random, patterns: int, texts: int) -> int:
    """Save tokenizers with random patterns; compare the ids of all who read the file, and tiktoken's.

    Returns how many patterns were taken.
    """
    taken = 0
    trained = Tokenizer.train_from_texts(random_texts(rng, 300), 600, pattern="none", special_tokens=())
    ranks = {trained.token_bytes(id): id for id in range(trained.vocab_size)}
    for _ in range(patterns):
        # tiktoken drops what nothing matches.
        regex = random_pattern(rng, ONLY_RUST, []) + r"|[\s\S]"
        try:
            tokenizer = Tokenizer.from_ranks(ranks, pattern=regex, special_tokens={})
            tik = tiktoken.Encoding("x", pat_str=regex, mergeable_ranks=ranks, special_tokens={})
        except (PatternError, ValueError):  # ours, and tiktoken's: not every flag
            continue
        taken += 1
        saved = tokenizer.to_bytes()
        loaded = Tokenizer.from_bytes(saved)
        assert loaded.regexes == tokenizer.regexes, regex
        assert loaded.fingerprint == tokenizer.fingerprint, regex
        assert loaded.to_bytes() == saved, regex
        file = json.loads(saved)
        del file["model"]["fingerprint"]
        file["model"].pop("pattern", None)
        foreign = Tokenizer.from_bytes(json.dumps(file))
        assert foreign.fingerprint == tokenizer.fingerprint, regex
        assert pickle.loads(pickle.dumps(tokenizer)).fingerprint == tokenizer.fingerprint, regex
        theirs = tokenizers.Tokenizer.from_str(saved.decode())
        for text in random_texts(rng, texts):
            expected = tokenizer.encode_ordinary(text)
            assert unless_it_gives_up(tik.encode_ordinary, text) in (expected, None), (regex, text)
            assert foreign.encode_ordinary(text) == expected, (regex, text)
            encoded = unless_it_gives_up(theirs.encode, text)
            assert encoded is None or encoded.ids == expected, (regex, saved, text)
    return taken


def test_what_is_loaded_splits_alike() -> None:
    assert compare_loaded(random.Random(7), 600, 3) > 100


def test_what_is_saved_splits_alike() -> None:
    assert compare_saved(random.Random(8), 200, 3) > 50


# fmt: off
KIMI = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+",
])
# fmt: on


@pytest.mark.parametrize(
    "regex",
    [
        KIMI,
        r"\w+|[^\w\s]+|\s+",
        r"^a|\s|\S",
        r"(?:\s+$)|\S+|\s",
        r"\b\w+|(?s:.)",
        r" ?[^(\s|[.,!?…。，、।۔،])]+|\s+|.",
    ],
)
def test_a_pattern_goes_to_everyone_and_comes_back(regex: str) -> None:
    text = "Hello 中文World's 你好abc² don't\n\n  ΑΒΓ αβγ Żółć\u200dx½ 123456 (x), a_b\r\n ।x"
    tokenizer = Tokenizer.train_from_texts([text], 300, pattern=regex, special_tokens=())
    assert tokenizer.pattern == regex
    saved = tokenizer.to_bytes()
    loaded = Tokenizer.from_bytes(saved)
    assert (loaded.pattern, loaded.fingerprint) == (regex, tokenizer.fingerprint)
    ids = tokenizer.encode(text)
    assert tokenizers.Tokenizer.from_str(saved.decode()).encode(text).ids == ids
    assert pickle.loads(pickle.dumps(tokenizer)).encode(text) == loaded.encode(text) == ids
    ranks = {tokenizer.token_bytes(id): id for id in range(tokenizer.vocab_size)}
    theirs = tiktoken.Encoding("x", pat_str=regex + r"|[\s\S]", mergeable_ranks=ranks, special_tokens={})
    ours = Tokenizer.from_ranks(ranks, pattern=regex + r"|[\s\S]", special_tokens={})
    assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)


def file_maker() -> Any:
    """Return a function that makes the ``tokenizer.json`` of 256 bytes and a split pattern."""
    file = json.loads(Tokenizer.train_from_texts(["a"], 256, special_tokens=()).to_bytes())
    del file["model"]["fingerprint"]

    def make(regex: str) -> bytes:
        split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
        file["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}
        return json.dumps(file).encode()

    return make


if __name__ == "__main__":
    PATTERN_COUNT, TEXT_COUNT, SEED = (int(argument) for argument in sys.argv[1:4])
    for recorded in ROWS["atom"] + ROWS["respelled"]:
        check_recorded(recorded)
    for compare in (compare_loaded, compare_saved):
        found = compare(random.Random(SEED), PATTERN_COUNT, TEXT_COUNT)
        print(f"{compare.__name__}: {found} of {PATTERN_COUNT} patterns taken, {TEXT_COUNT} texts each")
