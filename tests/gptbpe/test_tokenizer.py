"""Encoding and decoding: round trips, shapes, dtypes, and what is refused."""

from __future__ import annotations

import array
import contextlib
import doctest
import gc
import inspect
import itertools
import mmap
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import Tokenizer
from gptbpe._core import Codec
from gptbpe.errors import (
    SpecialTokenError,
    TextError,
    TokenizerError,
    UnknownCharacterError,
    UnknownTokenError,
)

PATTERNS = ["gpt2", "cl100k", "o200k", "llama3", "qwen2", "nanochat", "deepseek", r"\w+|\W", None]


@pytest.fixture(scope="module", params=PATTERNS, ids=str)
def any_pattern(request: pytest.FixtureRequest, text: str) -> Tokenizer:
    return Tokenizer.train(text.encode(), vocab_size=320, pattern=request.param)


@given(data=st.data())
def test_text_comes_back(data: st.DataObject, any_pattern: Tokenizer) -> None:
    text = data.draw(st.text())
    ids = any_pattern.encode_ordinary(text)
    assert any_pattern.decode(ids) == text
    assert any_pattern.count(text, disallowed_special=()) == len(ids)


@given(data=st.data())
def test_bytes_come_back(data: st.DataObject, any_pattern: Tokenizer) -> None:
    raw = data.draw(st.binary())
    assert any_pattern.decode_bytes(any_pattern.encode_ordinary(raw)) == raw


@given(data=st.data())
def test_pre_tokens_are_the_text(data: st.DataObject, any_pattern: Tokenizer) -> None:
    raw = data.draw(st.binary())
    assert b"".join(any_pattern.split(raw)) == raw


@given(text=st.text(alphabet="ab <|endoftxpad>🙂é\n"))
def test_every_way_of_encoding_agrees(text: str, tok: Tokenizer) -> None:
    ids = tok.encode(text, allowed_special="all")
    options = {"allowed_special": "all"}
    assert tok.encode_to_numpy(text, **options).tolist() == ids
    assert tok.encode_batch([text, text], **options) == [ids, ids]
    flat, offsets = tok.encode_ragged([text, "", text], **options)
    assert flat.tolist() == ids + ids
    assert offsets.tolist() == [0, len(ids), len(ids), 2 * len(ids)]
    assert tok.encode_with_offsets(text, **options)[0] == ids
    assert tok.count(text, **options) == len(ids)
    assert tok.encode(text.encode(), **options) == ids
    assert tok.decode(ids) == text


@given(text=st.text())
def test_offsets_point_at_the_tokens(text: str, tok: Tokenizer) -> None:
    ids, starts = tok.encode_with_offsets(text, disallowed_special=())
    position = 0
    for id, start in zip(ids, starts, strict=True):
        assert len(text.encode()[:position].decode(errors="ignore")) == start
        position += len(tok.token_bytes(id))
    raw = text.encode()
    ids, starts = tok.encode_with_offsets(raw, disallowed_special=())
    assert [raw[start:].startswith(tok.token_bytes(id)) for id, start in zip(ids, starts, strict=True)] == [
        True
    ] * len(ids)


@given(text=st.text(), limit=st.integers(0, 20))
def test_truncate_is_what_the_first_tokens_cover(text: str, limit: int, tok: Tokenizer) -> None:
    ids = tok.encode_ordinary(text)[:limit]
    covered = tok.decode_bytes(ids)
    kept = tok.truncate(text, limit)
    assert text.startswith(kept)
    assert kept == "" or len(covered) - len(kept.encode()) < 4 + max(len(tok.token_bytes(id)) for id in ids)
    if covered.decode("utf-8", "replace").encode() == covered:
        assert kept.encode() == covered
    assert tok.truncate(text.encode(), limit) == kept.encode()


@given(text=st.text(), limit=st.integers(0, 20))
def test_count_until_is_count_or_none(text: str, limit: int, tok: Tokenizer) -> None:
    count = tok.count(text, disallowed_special=())
    expected = count if count <= limit else None
    assert tok.count_until(text, limit, disallowed_special=()) == expected
    assert tok.count_until(text.encode(), limit, disallowed_special=()) == expected


def test_limits_of_any_size(tok: Tokenizer, text: str) -> None:
    assert tok.count_until(text, 2**100) == tok.count(text)
    assert tok.count_until(text, np.int64(3)) is None
    assert tok.truncate(text, 2**100) == text
    for call in (tok.count_until, tok.truncate):
        with pytest.raises(TokenizerError, match="is -1, expected 0 or more"):
            call(text, -1)
        with pytest.raises(TypeError):
            call(text, 1.5)
    assert tok.count_until("", 0) == 0
    assert tok.count_until("<|pad|>", 1, allowed_special="all") == 1
    with pytest.raises(SpecialTokenError):
        tok.count_until("a" * 10_000 + "<|pad|>", 1)


@given(text=st.text(), probability=st.floats(0, 1), seed=st.integers(0, 2**64 - 1))
def test_dropout_gives_the_text_back(text: str, probability: float, seed: int, tok: Tokenizer) -> None:
    ids = tok.encode_with_dropout(text, probability, seed=seed, disallowed_special=())
    assert tok.decode(ids) == text
    assert ids == tok.encode_with_dropout(
        text.encode(), probability, seed=np.uint64(seed), disallowed_special=()
    )
    plain = tok.encode_ordinary(text)
    assert tok.encode_with_dropout(text, 0, seed=seed, disallowed_special=()) == plain
    assert tok.encode_with_dropout(text, 1, seed=seed, disallowed_special=()) == list(text.encode())


def test_dropout_is_a_function_of_its_arguments(tok: Tokenizer, text: str) -> None:
    def ids(seed: int) -> list[int]:
        return tok.encode_with_dropout(text, 0.1, seed=seed)

    expected = [ids(seed) for seed in range(8)]
    assert len({tuple(ids) for ids in expected}) == 8
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ids, range(8))) == expected
    again = Tokenizer.from_bytes(tok.to_bytes())
    assert again.encode_with_dropout(text, 0.1, seed=3) == expected[3]


def test_dropout_by_hand() -> None:
    """The sequence of the seed written out in Python: SplitMix64, and each candidate skipped with p."""
    tok = Tokenizer.get("gpt2")
    merges = {pair: (number, id) for number, (pair, id) in enumerate(_made(tok))}

    def by_hand(text: str, probability: float, seed: int) -> list[int]:
        ids, state = [], seed
        for piece in tok.split(text):
            symbols = [tok.token_id(bytes([byte])) for byte in piece]
            while True:
                pairs = enumerate(pairwise(symbols))
                candidates = sorted((*merges[pair], place) for place, pair in pairs if pair in merges)
                if not candidates:
                    break
                state = (state + 0x9E3779B97F4A7C15) % 2**64
                bits = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
                bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
                number = (((bits ^ bits >> 31) >> 11) + 1) / 2**53
                kept = [one for k, one in enumerate(candidates, start=1) if number > probability**k]
                if not kept:
                    break
                _, id, place = kept[0]
                symbols[place : place + 2] = [id]
            ids += symbols
        return ids

    text = "The unbelievable internationalisation of antidisestablishmentarianism; déjà vu 🙂"
    for probability in (0.05, 0.5, 0.95):
        for seed in range(20):
            found = tok.encode_with_dropout(text, probability, seed=seed)
            assert found == by_hand(text, probability, seed)


def _made(tok: Tokenizer) -> Iterator[tuple[tuple[int, int], int]]:
    for left, right in tok.merges:
        id = tok.token_id(tok.token_bytes(left) + tok.token_bytes(right))
        assert id is not None
        yield (left, right), id


def test_dropout_refuses_what_is_out_of_range(tok: Tokenizer) -> None:
    for probability in (-0.1, 1.1, float("nan")):
        with pytest.raises(TokenizerError, match="is no probability"):
            tok.encode_with_dropout("a", probability, seed=0)
    for seed in (-1, 2**64, 1.5):
        with pytest.raises(TokenizerError, match="seed is "):
            tok.encode_with_dropout("a", 0.1, seed=seed)
    with pytest.raises(SpecialTokenError):
        tok.encode_with_dropout("<|pad|>", 0.5, seed=0)
    pad = tok.special_tokens["<|pad|>"]
    assert tok.encode_with_dropout("<|pad|>", 1, seed=0, allowed_special="all") == [pad]


def test_truncate_keeps_what_fits(tok: Tokenizer, text: str) -> None:
    assert tok.truncate(text, 10**9) == text
    assert tok.truncate(text, 0) == ""
    ids = tok.encode(text)
    assert tok.truncate(text, 20).encode() == tok.decode_bytes(ids[:20])


@pytest.mark.parametrize("threshold", [1, 2, 3])
@pytest.mark.parametrize("moment", range(1, 7))
def test_truncate_reads_a_buffer_once(moment: int, threshold: int, tok: Tokenizer) -> None:
    """Empty a buffer while it is read: each run of the garbage collector may lie between two reads."""
    text = b"It was the best of times, " * 10
    buffer, kept = bytearray(text), list[list[int]]()
    moments = itertools.count(1)

    def empty(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            kept.extend([[] for _ in range(8)])  # so that the collector runs again soon
        elif next(moments) == moment:
            with contextlib.suppress(BufferError):  # it is being read just now
                buffer.clear()

    gc.collect()
    thresholds = gc.get_threshold()
    gc.callbacks.append(empty)
    gc.set_threshold(threshold)
    try:
        result = tok.truncate(buffer, 9)
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(empty)
    assert result in (tok.truncate(text, 9), b"")


def test_dtype_follows_the_vocabulary(tok: Tokenizer) -> None:
    assert tok.encode_to_numpy("hello").dtype == np.uint16
    assert tok.encode_ragged(["hello"])[0].dtype == np.uint16
    assert tok.encode_ragged(["hello"])[1].dtype == np.int64
    large = Tokenizer.get("cl100k_base")
    assert large.encode_to_numpy("hello").dtype == np.uint32
    assert large.encode_ragged(["hello"])[0].dtype == np.uint32


def test_arrays_own_their_memory(tok: Tokenizer, text: str) -> None:
    ids = tok.encode_to_numpy(text)
    expected = ids.tolist()
    assert ids.flags.writeable
    ids[0] = 0
    assert tok.encode(text) == expected


def test_empty_input(tok: Tokenizer) -> None:
    assert tok.encode("") == tok.encode(b"") == []
    assert tok.encode_batch([]) == []
    ids, offsets = tok.encode_ragged([])
    assert ids.shape == (0,)
    assert offsets.tolist() == [0]
    assert tok.decode([]) == ""
    assert tok.decode(np.array([], dtype=np.uint16)) == ""
    assert tok.count("") == 0


def test_any_buffer_is_text(tok: Tokenizer, tmp_path: Path) -> None:
    expected = tok.encode("hello world")
    raw = b"hello world"
    path = tmp_path / "text"
    path.write_bytes(raw)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert tok.encode(mapped) == expected
    for buffer in (
        bytearray(raw),
        memoryview(raw),
        array.array("B", raw),
        np.frombuffer(raw, dtype=np.uint8),
    ):
        assert tok.encode(buffer) == expected
    assert tok.encode(memoryview(raw * 2)[::2]) == tok.encode((raw * 2)[::2])


@pytest.mark.parametrize("wrong", [5, None, ["hello"], array.array("I", [1]), np.array([1.0])])
def test_what_is_no_text(tok: Tokenizer, wrong: object) -> None:
    with pytest.raises(TextError, match=r"text must be str, bytes or a buffer of bytes"):
        tok.encode(wrong)


def test_lone_surrogates_are_named(tok: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"lone surrogate U\+D83D at character 3") as caught:
        tok.encode("abc\ud83d")
    assert isinstance(caught.value, TextError)
    with pytest.raises(ValueError, match=r"texts\[1\].*character 0"):
        tok.encode_batch(["fine", "\udc00"])
    for method in (tok.encode_ordinary, tok.encode_to_numpy, tok.count, tok.encode_with_offsets, tok.split):
        with pytest.raises(TextError):
            method("\ud800")
    with pytest.raises(TextError):
        tok.truncate("\ud800", 3)


def test_one_text_is_no_batch(tok: Tokenizer) -> None:
    for one in ("hello", b"hello"):
        with pytest.raises(TextError, match=r"write \[text\]"):
            tok.encode_batch(one)


BAD_IDS: list[tuple[object, int, str]] = [
    ([1, 2, -1], 2, "-1"),
    ([2**32], 0, "4294967296"),
    ([2**80], 0, str(2**80)),
    ([1, 10**6], 1, "1000000"),
    ([1, 2.5], 1, "2.5"),
    ([1.0], 0, "1.0"),
    ([None], 0, "None"),
    (["1"], 0, "'1'"),
    (np.array([5, -3]), 1, "-3"),
    (np.array([5, 2**40]), 1, "1099511627776"),
    (np.array([1, 2, 60_000], dtype=np.uint16), 2, "60000"),
    (np.array([1.5]), 0, "1.5"),
    (np.array([float("nan")]), 0, "nan"),
    ((3, 2**31), 1, "2147483648"),
    (iter([0, -7]), 1, "-7"),
]


@pytest.mark.parametrize(
    ("ids", "index", "shown"), BAD_IDS, ids=[row[2] + type(row[0]).__name__ for row in BAD_IDS]
)
def test_bad_ids_are_named(tok: Tokenizer, ids: object, index: int, shown: str) -> None:
    with pytest.raises(ValueError, match=re.escape(shown)) as caught:
        tok.decode_bytes(ids)
    assert isinstance(caught.value, UnknownTokenError)
    assert caught.value.index == index
    assert caught.value.vocab_size == tok.vocab_size
    assert f"index {index} " in str(caught.value)


@pytest.mark.parametrize("wrong", [5, "12", b"12", np.array([[1]]), np.array(3)])
def test_what_are_no_ids(tok: Tokenizer, wrong: object) -> None:
    with pytest.raises(ValueError, match="ids must"):
        tok.decode(wrong)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]
)
def test_every_integer_dtype_is_ids(tok: Tokenizer, dtype: type) -> None:
    ids = np.array([104, 105], dtype=dtype)
    assert tok.decode(ids) == "hi"
    assert tok.decode(ids[::-1]) == "ih"
    assert tok.decode(list(ids)) == "hi"
    assert tok.decode(ids.astype(ids.dtype.newbyteorder())) == "hi"


def test_ids_of_any_iterable(tok: Tokenizer) -> None:
    assert tok.decode(range(104, 106)) == "hi"
    assert tok.decode(id for id in (104, 105)) == "hi"
    assert tok.decode((104, True)) == "h\x01"
    assert tok.decode(array.array("H", [104, 105])) == "hi"


def test_huge_requests_are_errors(tok: Tokenizer) -> None:
    with pytest.raises(UnknownTokenError, match=f"token {tok.vocab_size} at index {tok.vocab_size} "):
        tok.decode(range(10**10))
    for dtype in (np.uint16, np.uint32, np.int64):
        ids = np.broadcast_to(dtype(104), 2**45)
        for call in (tok.decode, tok.decode_bytes, tok.decode_stream().push_all):
            with pytest.raises(MemoryError, match=r"\d{14,} bytes of memory could not be had"):
                call(ids)
    for call in (tok.encode_batch, tok.encode_ragged):
        with pytest.raises(TextError, match=r"texts\[0\]: text must be str.*found int"):
            call(range(2**50))


@given(data=st.data())
def test_decoding_is_joining_the_tokens(data: st.DataObject, tok: Tokenizer) -> None:
    known = st.integers(0, tok.vocab_size - 1)
    ids = data.draw(st.lists(known, max_size=200))
    joined = b"".join(tok.token_bytes(id) for id in ids)
    for form in (ids, tuple(ids), np.array(ids, dtype=np.uint16), np.array(ids, dtype=np.int64)):
        assert tok.decode_bytes(form) == joined
        assert tok.decode(form) == joined.decode("utf-8", "replace")
        assert tok.decode_batch([form, form]) == [joined.decode("utf-8", "replace")] * 2


def test_long_texts_are_decoded_whole() -> None:
    tok = Tokenizer.get("o200k_base")
    text = "It was the best of times; 你好，世界! 🙂 " + " " * 300 + "-" * 100 + "\n"
    text *= 500
    ids = tok.encode_to_numpy(text)
    assert tok.decode(ids) == tok.decode(ids.tolist()) == text
    assert tok.decode_bytes(ids[::-1][::-1]) == text.encode()


class Tensor:
    """Knows how to become an array, as tensors do."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.ids)


def test_what_becomes_an_array_is_ids(tok: Tokenizer) -> None:
    assert tok.decode(Tensor(104, 105)) == "hi"
    assert tok.decode_bytes(Tensor(104, 105)) == b"hi"
    with pytest.raises(UnknownTokenError, match="index 1"):
        tok.decode(Tensor(104, -5))


def test_decode_errors_are_bytes_decode_errors(tok: Tokenizer) -> None:
    ids = tok.encode(b"a\xffb")
    assert tok.decode(ids) == "a\ufffdb"
    assert tok.decode(ids, errors="ignore") == "ab"
    with pytest.raises(UnicodeDecodeError):
        tok.decode(ids, errors="strict")
    assert tok.decode_batch([ids, []], errors="ignore") == ["ab", ""]
    with pytest.raises(LookupError, match="nonsense"):
        tok.decode(ids, errors="nonsense")
    with pytest.raises(ValueError, match="nul"):
        tok.decode(ids, errors="a\0b")
    with pytest.raises(UnicodeDecodeError) as caught:
        tok.decode(ids, errors="strict")
    assert (caught.value.object, caught.value.start) == (b"a\xffb", 1)


def test_token_by_bytes_and_by_id(tok: Tokenizer) -> None:
    for id in range(tok.vocab_size):
        assert tok.token_id(tok.token_bytes(id)) == id
    assert tok.token_id("<|pad|>") == tok.special_tokens["<|pad|>"]
    assert tok.token_id("no such token") is None
    with pytest.raises(UnknownTokenError, match=str(tok.vocab_size)):
        tok.token_bytes(tok.vocab_size)
    with pytest.raises(UnknownTokenError):
        tok.token_bytes(-1)


def test_merges_build_the_tokens(tok: Tokenizer) -> None:
    for index, (left, right) in enumerate(tok.merges):
        assert tok.token_bytes(256 + index) == tok.token_bytes(left) + tok.token_bytes(right)
    assert len(tok.merges) == tok.vocab_size - 256 - 2
    assert [tok.ranks()[bytes([byte])] for byte in range(256)] == list(range(256))


def test_characters(chars: Tokenizer, text: str) -> None:
    alphabet = sorted(set(text))
    assert chars.is_characters
    assert chars.vocab_size == len(alphabet) + 1
    assert chars.encode(text) == [alphabet.index(character) for character in text]
    assert chars.decode(chars.encode(text)) == text
    assert chars.merges == []
    with pytest.raises(UnknownCharacterError, match="ж"):
        chars.encode("ж")
    with pytest.raises(ValueError, match=r"texts\[1\]|ж"):
        chars.encode_batch(["best", "ж"])
    with pytest.raises(TextError, match="UTF-8"):
        chars.encode(b"\xff")


def test_encode_files(tok: Tokenizer, tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_bytes(b"best<|endoftext|>times<|endoftext|>")
    two.write_bytes(b"worst\xff of")
    documents = [b"best", b"times", b"worst\xff of"]
    for size in (1, 1 << 20):
        found = []
        for ids, offsets in tok.encode_files([one, two], batch_bytes=size):
            found += [tok.decode_bytes(ids[a:b]) for a, b in pairwise(offsets)]
        assert found == documents
    whole = [tok.decode_bytes(ids) for ids, _ in tok.encode_files(one, separator=None)]
    assert whole == [one.read_bytes()]
    with pytest.raises(FileNotFoundError, match="three"):
        tok.encode_files([one, tmp_path / "three.txt"])
    with pytest.raises(IsADirectoryError):
        tok.encode_files(tmp_path)
    with pytest.raises(ValueError, match="separator is empty"):
        list(tok.encode_files(one, separator=""))


@pytest.mark.parametrize(
    "hostile",
    [
        b"a" * 1_000_000,
        b" " * 1_000_000,
        b"\0" * 1_000_000,
        b" " * 999_999 + b"x",
        b"ab" * 400_000,
        b"\xff" * 300_000,
    ],
    ids=["a", "spaces", "NULs", "spaces then x", "abab", "0xFF"],
)
@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_base"])
def test_runs_of_a_million(hostile: bytes, name: str) -> None:
    tok = Tokenizer.get(name)
    ids = tok.encode_to_numpy(hostile)
    assert tok.decode_bytes(ids) == hostile


def test_repr_and_length(tok: Tokenizer) -> None:
    assert len(tok) == tok.vocab_size == 340
    assert "vocab_size=340" in repr(tok)
    assert "cl100k" in repr(tok)
    assert tok.fingerprint[:12] in repr(tok)
    assert len(tok.fingerprint) == 64


def test_everything_public_is_documented() -> None:
    for name, member in vars(Tokenizer).items():
        if not name.startswith("_"):
            assert getattr(member, "__func__", member).__doc__, name


def test_it_is_not_made_by_calling() -> None:
    with pytest.raises(TypeError, match=r"Tokenizer\.train"):
        Tokenizer()


COMPILED = [name for name in vars(Codec) if not name.startswith("_")]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_methods_are_documented_like_others(name: str) -> None:
    """Pytest finds no doctest in what a class inherits from a compiled one."""
    method = getattr(Tokenizer, name)
    assert next(iter(inspect.signature(method).parameters)) == "self"
    (test,) = doctest.DocTestFinder().find(method, name, module=False, globs={"Tokenizer": Tokenizer})
    assert test.examples
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0


def test_a_subclass_is_a_tokenizer(tok: Tokenizer, text: str) -> None:
    class Named(Tokenizer):
        name = "mine"

        def encode_ordinary(self, text: str) -> list[int]:
            return [0, *super().encode_ordinary(text)]

    mine = Named._of(tok._core)
    assert isinstance(mine, Named)
    assert mine == tok
    assert mine.encode(text) == tok.encode(text)
    assert mine.encode_ordinary("low") == [0, *tok.encode_ordinary("low")]
    with pytest.raises(TypeError, match=r"Tokenizer\.train"):
        Named()


@pytest.mark.parametrize("argument", ["allowed_special", "disallowed_special"])
def test_none_is_no_choice_of_special_tokens(tok: Tokenizer, argument: str) -> None:
    with pytest.raises(TypeError, match="iterable"):
        tok.encode("low", **{argument: None})
