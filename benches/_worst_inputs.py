"""Texts that are meant to be slow, in eleven families, each of any length.

An input is a function from a length in bytes to a text, or a list of texts, of about that length. The same
length gives the same text everywhere.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

Text = str | bytes
Make = Callable[[int], Text | list[Text]]


@dataclass(frozen=True)
class Input:
    """A text of any length, and which family it is of."""

    family: int
    name: str
    make: Make
    special: bool = False
    """Whether special tokens stand for themselves in it."""
    vocabulary: str = "usual"
    """Which vocabulary it is for: the usual one of a pattern, ``"bytes"`` or ``"powers"``."""


FAMILIES = {
    1: "one character repeated",
    2: "white space",
    3: "no spaces",
    4: "contractions",
    5: "marks and scripts",
    6: "merges",
    7: "invalid UTF-8",
    8: "special tokens",
    9: "vocabularies",
    10: "many texts",
    11: "from the field",
}

_ONE = {
    "a": "a", "A": "A", "0": "0", "-": "-", "^": "^", "/": "/", ".": ".", "'": "'", "NUL": "\0", "TAB": "\t",
    "LF": "\n", "CR": "\r", "space": " ", "U+0085": "\x85", "U+00A0": "\xa0", "U+2003": "\u2003",
    "U+3000": "\u3000", "U+200B": "\u200b", "U+FEFF": "\ufeff", "中": "中", "あ": "あ", "ก": "ก",
    "U+02B0": "ʰ", "U+0301": "\u0301", "👍": "👍", "U+FFFD": "\ufffd", "U+10FFFF": "\U0010ffff",
}  # fmt: skip
_SPACES = {
    "(space LF)*": " \n", "(CR LF)*": "\r\n", "(LF space)*": "\n ", "(tab space)*": "\t ",
    "(LF tab)*": "\n\t\t", "(4 spaces LF)*": "    \n", "(space U+3000)*": " \u3000", "(space x)*": "  x",
}  # fmt: skip
_CONTRACTIONS = {
    "'s": "'s", "A'": "A'", "'S": "'S", "’s": "’s", "''s": "''s", "I'LL": "I'LL", "'ſ": "'ſ",
    "a'K": "a'\u212a", "aA": "aA", "Aa'sA": "Aa'sA",
}  # fmt: skip
_SCRIPTS = {
    "e + 30 marks": "e" + "\u0301" * 30,
    "A + marks": "A\u0301\u0302",
    "family": "👩\u200d👩\u200d👧\u200d👦",
    "flags": "🇩🇪🇫🇷",
    "skin tones": "👍🏽👍🏿",
    "VS16": "☺\ufe0f",
    "jamo": "\u1112\u1161\u11ab",
    "Arabic": "السلام\u200f",
    "Tamil": "நிக்",
    "Thai": "กำ่ไทย",
    "unassigned": "\u0378\u0380",
    "private": "\ue000\uf8ff",
    "titlecase": "ǅaʰA",
}
_INVALID = {
    "0x80": b"\x80", "0xFF": b"\xff", "overlong C0 AF": b"\xc0\xaf", "overlong E0 80 80": b"\xe0\x80\x80",
    "surrogate": b"\xed\xa0\x80", "beyond U+10FFFF": b"\xf4\x90\x80\x80", "broken 3-byte": b"a\xe4\xbd",
    "broken 4-byte": b"\xf0\x9f\x91 ", "one in 100": b"some words and more of them " * 3 + b"\xff and so on",
}  # fmt: skip
_SPECIAL = {
    "special": "<|endoftext|>",
    "nested": "<|endof<|endoftext|>text|>",
    "all but the end": "<|endoftext|",
    "<|": "<|",
    "<": "<",
    "special x": "<|endoftext|>x",
}


def repeated(unit: Text) -> Make:
    """Return a maker of texts that are one string over and over."""
    size = len(unit.encode("utf-8", "surrogatepass") if isinstance(unit, str) else unit)
    return lambda length: unit * (length // size)


def _random(alphabet: str, seed: int = 1) -> Make:
    """Make random characters of an ASCII alphabet."""
    table = (alphabet.encode() * 256)[:256]
    return lambda length: random.Random(seed).randbytes(length).translate(table).decode()


def _random_wide(first: int, count: int) -> Make:
    """Make random characters of three bytes each."""

    def make(length: int) -> str:
        numbers = random.Random(2).choices(range(first, first + count), k=min(length, 1 << 20) // 3 + 1)
        text = "".join(map(chr, numbers))
        return (text * (length // len(text.encode()) + 1))[: length // 3]

    return make


def _chinese(length: int) -> str:
    """Make Chinese characters as frequent as words are, without a space, and without repeating itself."""
    characters = range(0x4E00, 0x4E00 + 5000)
    weights = [1 / rank for rank in range(1, len(characters) + 1)]
    return "".join(map(chr, random.Random(6).choices(characters, weights, k=length // 3)))


def _parts(pieces: Callable[[random.Random], Iterable[str]]) -> Make:
    """Make a text of random pieces that repeats after a megabyte, so that making it takes no time."""

    def make(length: int) -> str:
        source = random.Random(3)
        text, size = [], 0
        while size < min(length, 1 << 20):
            for piece in pieces(source):
                text.append(piece)
                size += len(piece)
        joined = "".join(text)
        return (joined * (length // len(joined) + 1))[:length]

    return make


def _word(source: random.Random) -> str:
    return "".join(source.choices(string.ascii_lowercase, k=source.randint(1, 9)))


def _minified(source: random.Random) -> Iterable[str]:
    return [_word(source), source.choice(["(", ")", ";", "=", ".", "{", "}", "+", ",", "=>", "&&", "[0]"])]


def _json(source: random.Random) -> Iterable[str]:
    return [
        f'{{"{_word(source)}":{source.randint(0, 10**9)},"{_word(source)}":["{_word(source)}",null,1.5e-7]}},'
    ]


def _spaced_letters(source: random.Random) -> Iterable[str]:
    return [
        source.choice("abcXYZ1."),
        "".join(source.choices(" \t\n", k=source.choice([0, 1, 2, 5, 50, 500]))),
    ]


def _fibonacci(length: int) -> str:
    shorter, longer = "a", "ab"
    while len(longer) < length:
        shorter, longer = longer, longer + shorter
    return longer[:length]


def _thue_morse(length: int) -> bytes:
    text = b"a"
    other = bytes.maketrans(b"ab", b"ba")
    while len(text) < length:
        text += text.translate(other)
    return text[:length]


def _de_bruijn(length: int) -> bytes:
    """Make the sequence of the nibbles of a shift register: all short strings over 16 letters."""
    state, size, text = 1, min(length, 1 << 20), bytearray()
    for _ in range(size):
        state = (state >> 1) ^ (0x90000 if state & 1 else 0)
        text.append(ord("a") + (state & 15))
    return bytes(text * (length // size))


def from_tokens(tokens: list[bytes]) -> list[Input]:
    """Return the inputs that are made of the tokens of a vocabulary, by their ids."""
    longest = max((token for token in tokens if token.isalpha()), key=len)
    backwards = b"".join(reversed(tokens))
    shuffled = b"".join(random.Random(4).sample(tokens, len(tokens)))
    return [
        Input(6, "tokens backwards", lambda length: (backwards * (length // len(backwards) + 1))[:length]),
        Input(6, "tokens at random", lambda length: (shuffled * (length // len(shuffled) + 1))[:length]),
        Input(6, "longest token, cut", repeated(longest[:-1])),
    ]


def _giant_and_small(length: int) -> list[Text]:
    return ["word " * (length // 5 - 400), *["small text"] * 200]


def _around(before: str, unit: str, after: str) -> Make:
    return lambda length: before + unit * (length // len(unit.encode())) + after


INPUTS: list[Input] = [
    *(Input(1, name, repeated(unit)) for name, unit in _ONE.items()),
    Input(2, "spaces, x", _around("", " ", "x")),
    Input(2, "x, spaces", _around("x", " ", "")),
    Input(2, "spaces, LF", _around("", " ", "\n")),
    Input(2, "spaces, LF, x", _around("x", " ", "\nx")),
    *(Input(2, name, repeated(unit)) for name, unit in _SPACES.items()),
    Input(2, "runs between letters", _parts(_spaced_letters)),
    Input(3, "random letters", _random(string.ascii_lowercase)),
    Input(3, "random letters, both cases", _random(string.ascii_letters)),
    Input(3, "random digits", _random(string.digits)),
    Input(3, "base64", _random(string.ascii_letters + string.digits + "+/")),
    Input(3, "hex", _random("0123456789abcdef")),
    Input(3, "DNA", _random("ACGT")),
    Input(3, "minified", _parts(_minified)),
    Input(3, "JSON on one line", _parts(_json)),
    Input(3, "URL", _parts(lambda source: [_word(source), source.choice(["/", "%20", "?a=", "&", "-"])])),
    Input(3, "random Chinese", _random_wide(0x4E00, 5000)),
    Input(3, "random Hangul", _random_wide(0xAC00, 5000)),
    *(Input(4, f"({name})*", repeated(unit)) for name, unit in _CONTRACTIONS.items()),
    *(Input(5, name, repeated(unit)) for name, unit in _SCRIPTS.items()),
    Input(6, "Fibonacci", _fibonacci),
    Input(6, "Thue-Morse", _thue_morse),
    Input(6, "de Bruijn", _de_bruijn),
    Input(6, "(ab)*a", _around("", "ab", "a")),
    *(Input(7, name, repeated(unit)) for name, unit in _INVALID.items()),
    Input(7, "random bytes", lambda length: random.Random(5).randbytes(length)),
    Input(7, "cut at the end", lambda length: "中".encode() * (length // 3) + b"\xe4\xb8"),
    *(Input(8, name, repeated(unit), special=True) for name, unit in _SPECIAL.items()),
    Input(9, "bytes alone, words", repeated("some words and others "), vocabulary="bytes"),
    Input(9, "bytes alone, a", repeated("a"), vocabulary="bytes"),
    Input(9, "a token of 64 KiB, a", repeated("a"), vocabulary="powers"),
    Input(9, "a token of 64 KiB, nearly", repeated("a" * 65_535 + "b"), vocabulary="powers"),
    Input(10, "empty texts", lambda length: [""] * (length // 16)),
    Input(10, "one-byte texts", lambda length: ["a"] * (length // 16)),
    Input(10, "short texts", lambda length: ["a short text"] * (length // 12)),
    Input(10, "one giant, 200 small", _giant_and_small),
    Input(11, "lines of ^", repeated("^" * 999 + "\n")),
    Input(11, "dashes", repeated("—" * 300 + "-" * 5000)),
    Input(11, "table rules", repeated("|" + "-" * 60 + "|" + "=" * 60 + "\n")),
    Input(11, "addresses", repeated("first.last@some.example.org, ")),
    Input(11, "dots and at", repeated("a." * 40 + " ")),
    Input(11, "no at", _around("", "a.", "")),
]


_OF_ENCODING = {kind.name: kind for kind in INPUTS}
TRAINING: list[Input] = [
    *(_OF_ENCODING[name] for name in ("a", "random letters", "base64", "random bytes", "dashes")),
    Input(3, "Chinese without spaces", _chinese),
    *(_OF_ENCODING[name] for name in ("Fibonacci", "Thue-Morse", "(ab)*a", "(space LF)*")),
    Input(6, "ʰ and A in turn", repeated("ʰA")),
]
"""From which to learn is slow: long pre-tokens, with few pairs or with all of them."""


def powers(greatest: int) -> list[bytes]:
    """Return the tokens aa, aaaa, … up to a length."""
    return list(accumulate(range(greatest.bit_length() - 1), lambda token, _: token * 2, initial=b"a"))[1:]
