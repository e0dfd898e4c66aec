"""Training against programs that nobody here wrote: rustbpe 0.1.0, and the reference run of CS336."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import compare_training
import pytest

from gptbpe import Tokenizer
from gptbpe.errors import TrainingError

END = "<|endoftext|>"
SIZES = (512, 4096, 16384)
CORPORA = [
    ("tinyshakespeare", None),
    ("enwiki_100M", 5_000_000),
    ("zh_20M", 2_000_000),
    ("linux_60M", 5_000_000),
]


@pytest.fixture(scope="module")
def documents(corpus: Callable[..., bytes]) -> Callable[[str, int | None], list[str]]:
    """Return ``documents(name, limit)``: the texts between the end-of-text lines, as valid UTF-8."""

    @cache
    def read(name: str, limit: int | None) -> list[str]:
        return corpus(name, limit).decode("utf-8", "ignore").split(END)

    return read


@pytest.mark.parametrize(("name", "limit"), CORPORA, ids=[name for name, _ in CORPORA])
def test_merges_are_rustbpes(
    name: str, limit: int | None, documents: Callable[[str, int | None], list[str]]
) -> None:
    rustbpe = pytest.importorskip("rustbpe")
    texts = documents(name, limit)
    theirs = rustbpe.Tokenizer()
    # 256 bytes and the merges; our vocabulary counts the special token too.
    theirs.train_from_iterator(iter(texts), max(SIZES) - 1)
    pattern = theirs.get_pattern()
    tokens = [
        bytes(token)
        for token, rank in sorted(theirs.get_mergeable_ranks(), key=lambda row: row[1])
        if rank >= 256
    ]

    ours = Tokenizer.train_from_texts(texts, max(SIZES), pattern=pattern)
    assert [ours.token_bytes(id) for id in range(256, max(SIZES) - 1)] == tokens
    for size in SIZES[:-1]:
        smaller = Tokenizer.train_from_texts(texts, size, pattern=pattern)
        assert smaller.merges == ours.merges[: size - 257]
        assert smaller == ours.shrink(size)


@pytest.mark.parametrize("name", ["bible46_10M", "de_10M", "hi_5M", "ja_15M", "ko_15M", "th_10M"])
def test_merges_are_rustbpes_for_any_number_of_threads(name: str, corpus: Callable[..., bytes]) -> None:
    """A short run of ``compare_training.py``, which compares every corpus."""
    pytest.importorskip("rustbpe")
    text = corpus(name, 400_000).decode(errors="ignore")
    for pattern in ("gpt2", "cl100k"):
        assert list(compare_training.differences(text, 2048, pattern)) == []


def test_counts_beyond_32_bits_are_exact(corpus: Callable[..., bytes]) -> None:
    """However often the text is repeated the merges are the same; HF's and rustbpe's counts wrap."""
    text = corpus("tinyshakespeare", 200_000).decode()
    words = Counter(re.findall(r" ?[a-zA-Z]+|\S|\s", text))
    expected = Tokenizer.train_from_counts(words, 1024, special_tokens=())
    greatest = sum(count * len(word) for word, count in words.items())
    for factor in (2**32 - 1, 2**32, 2**40 + 1, (2**63 - 1) // greatest):
        many = {word: count * factor for word, count in words.items()}
        assert Tokenizer.train_from_counts(many, 1024, special_tokens=()).merges == expected.merges
    # A difference of one, at the top.
    for counts, merge in (
        ({"ab": 2**62, "cd": 2**62 - 1}, b"ab"),
        ({"ab": 2**62 - 1, "cd": 2**62}, b"cd"),
        ({"ab": 2**32, "cd": 1}, b"ab"),
    ):
        tok = Tokenizer.train_from_counts(counts, 257, special_tokens=())
        assert tok.token_bytes(256) == merge


@pytest.mark.parametrize(
    "counts",
    [
        [("ab", 2**64)],
        [("ab", 2**63), ("ab", 2**63)],
        [("ab", 2**63), ("xab", 2**63)],  # of the words each fits, of their pair not
        [("aaa", 2**63)],
        [("a" * (2**11 + 2), 2**53)],
    ],
    ids=["one", "sum", "pair", "run", "long"],
)
def test_counts_beyond_64_bits_are_refused(counts: list[tuple[str | bytes, int]]) -> None:
    with pytest.raises(TrainingError, match=r"64 bits|18446744073709551615|9223372036854775807"):
        Tokenizer.train_from_counts(counts, 260, special_tokens=())


def test_threads_and_order_do_not_matter(
    documents: Callable[[str, int | None], list[str]], tmp_path: Path
) -> None:
    texts = documents("enwiki_100M", 5_000_000)
    expected = Tokenizer.train_from_texts(texts, 4096, threads=1)
    shuffled = list(texts)
    random.Random(1).shuffle(shuffled)
    for threads in (2, 7):
        assert Tokenizer.train_from_texts(shuffled, 4096, threads=threads) == expected
    parts = []
    for number in range(3):
        parts.append(tmp_path / f"{number}.txt")
        parts[-1].write_text(END.join(shuffled[number::3]), encoding="utf-8")
    assert Tokenizer.train(parts, 4096) == expected
    assert Tokenizer.train(parts[::-1], 4096, threads=7) == expected


def test_the_reference_run_of_cs336(shared_file: Callable[[str], Path]) -> None:
    text = shared_file("reference/cs336_corpus.en").read_bytes()
    merges = shared_file("reference/cs336_train-bpe-reference-merges.txt").read_text(encoding="utf-8")
    tokens = shared_file("reference/cs336_train-bpe-reference-vocab.json").read_text(encoding="utf-8")
    decoder = _gpt2_characters()
    expected = []
    for line in merges.splitlines():
        left, right = line.split(" ")
        expected.append((_bytes(left, decoder), _bytes(right, decoder)))
    vocabulary = json.loads(tokens)
    tok = Tokenizer.train(text, 257 + len(expected), pattern="gpt2", tie_break="bytes")
    assert [(tok.token_bytes(left), tok.token_bytes(right)) for left, right in tok.merges] == expected
    ours = {tok.token_bytes(id) for id in range(tok.vocab_size)}
    assert ours == {_bytes(token, decoder) if token != END else END.encode() for token in vocabulary}


def _gpt2_characters() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + index): byte for index, byte in enumerate(others)}


def _bytes(token: str, decoder: dict[str, int]) -> bytes:
    return bytes(decoder[character] for character in token)
