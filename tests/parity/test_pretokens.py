"""Pre-tokens against tokenizers' ``Split`` (Oniguruma) and tiktoken (fancy-regex), for every named pattern.

Neither our interface nor tiktoken's shows pre-tokens. A vocabulary trained until no pair is left does: each
pre-token of its text is then one token.
"""

from __future__ import annotations

import random
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gptbpe import Tokenizer

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SUFFIX}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]
# As Oniguruma must have it: tiktoken's `\s++$` is the end of the text, not of a line.
CL100K = LLAMA3.replace(r"|\s*[\r\n]+", r"|\s+\z|\s*[\r\n]+")

HUGGING_FACE = {
    "gpt2": [GPT2],
    "cl100k": [CL100K],
    "o200k": [O200K],
    "llama3": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "nanochat": [LLAMA3.replace("{1,3}", "{1,2}")],
    "deepseek": DEEPSEEK,
    # not named, recognised by the scanner
    "fives": [LLAMA3.replace("{1,3}", "{1,5}")],
    # not recognised: the regex behind the scanner (no \w: Oniguruma's holds ² and its like, others' do not)
    "other": [r"[\p{L}\p{M}]{2,7}|\s+(?!\S)|\s+|\p{L}|[^\s\p{L}]{1,4}?"],
}

TIKTOKEN = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k": O200K,
    "nanochat": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+"
    ),
}

# Characters of every class, with those that patterns single out.
TELLING = (
    "   \n\r\t\x85\xa0\u2028\u3000aAsStTdmMrRevVlLDſ\u212aßéÉǅªʰ你カ・\u0301\u200d0９²Ⅷ"
    "'’/!.,-+€😀\0\x01\u0378"
)


def _random_text(seed: int, length: int) -> str:
    choice = random.Random(seed).choice
    return "".join(choice(TELLING) for _ in range(length))


def _every_character() -> str:
    """Every code point once, between telling characters; 1 in 7 of the letters, which are the most."""
    rng = random.Random(7)
    found = []
    for code_point in range(0x110000):
        category = unicodedata.category(chr(code_point))
        common = category in ("Lo", "Cn", "Co") and code_point % 7
        if category != "Cs" and not common:
            found.append(chr(code_point) + rng.choice(TELLING))
    return "".join(found)


@pytest.fixture(scope="module")
def documents(corpus: Callable[..., bytes]) -> list[str]:
    names = ["enwiki_valid_5M", "linux_60M", "zh_20M", "hi_5M", "th_10M", "bible46_10M"]
    texts = [corpus(name, 60_000).decode(errors="ignore") for name in names]
    texts = [text.replace("<|endoftext|>", "") for text in texts]
    return [*texts, _random_text(1, 30_000), _every_character(), "a \n ", " " * 500]


def _until_no_pair_is_left(documents: list[str], pattern: str | list[str]) -> Tokenizer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it stops early is the point
        return Tokenizer.train_from_texts(documents, 2_000_000, pattern=pattern, special_tokens=())


def _pattern(name: str) -> str | list[str]:
    return name if name not in ("fives", "other") else HUGGING_FACE[name]


def _pieces(tok: Tokenizer, text: str) -> Iterator[bytes]:
    return (tok.token_bytes(id) for id in tok.encode_ordinary(text))


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_pieces_are_those_of_tokenizers(name: str, documents: list[str]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    pre: Any = tokenizers.pre_tokenizers
    split = pre.Sequence([pre.Split(tokenizers.Regex(regex), "isolated") for regex in HUGGING_FACE[name]])
    tok = _until_no_pair_is_left(documents, _pattern(name))
    for text in documents:
        theirs = [text[start:stop].encode() for _, (start, stop) in split.pre_tokenize_str(text)]
        assert list(_pieces(tok, text)) == theirs


@pytest.mark.parametrize("name", TIKTOKEN)
def test_ids_are_tiktokens_when_every_piece_is_a_token(name: str, documents: list[str]) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    tok = _until_no_pair_is_left(documents, name)
    ranks = {tok.token_bytes(id): id for id in range(tok.vocab_size)}
    theirs = tiktoken.Encoding(name, pat_str=TIKTOKEN[name], mergeable_ranks=ranks, special_tokens={})
    for text in documents:
        assert list(tok.encode_ordinary(text)) == theirs.encode_ordinary(text)
