"""``gptbpe.compat.tiktoken.Encoding`` has tiktoken's surface; the ids are compared in tests/parity."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from gptbpe import Tokenizer
from gptbpe.compat.tiktoken import Encoding, encoding_for_model, get_encoding, list_encoding_names

RANKS = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256, b"low": 257, b" low": 258}


@pytest.fixture
def toy() -> Encoding:
    return Encoding(
        "toy",
        pat_str=r" ?\w+|\s+",
        mergeable_ranks=RANKS,
        special_tokens={"<|endoftext|>": 300, "<|x|>": 301},
    )


def test_surface(toy: Encoding) -> None:
    assert repr(toy) == "<Encoding 'toy'>"
    assert toy.name == "toy"
    assert toy.n_vocab == 302
    assert toy.max_token_value == 301
    assert toy.eot_token == 300
    assert toy.special_tokens_set == {"<|endoftext|>", "<|x|>"}
    assert toy.is_special_token(300)
    assert not toy.is_special_token(5)
    assert toy.token_byte_values() == sorted(RANKS)


def test_explicit_vocabulary_is_checked() -> None:
    with pytest.raises(AssertionError, match="explicit_n_vocab"):
        Encoding("toy", pat_str=r"\w+", mergeable_ranks=RANKS, special_tokens={}, explicit_n_vocab=5)
    Encoding("toy", pat_str=r"\w+", mergeable_ranks=RANKS, special_tokens={}, explicit_n_vocab=259)


def test_encoding(toy: Encoding) -> None:
    assert toy.encode("low low") == toy.encode_ordinary("low low") == [257, 258]
    assert toy.encode("low<|x|>", allowed_special={"<|x|>"}) == [257, 301]
    with pytest.raises(ValueError, match="disallowed special token '<|x|>'".replace("|", r"\|")):
        toy.encode("low<|x|>")
    assert toy.encode_batch(["low", " low"], num_threads=2) == [[257], [258]]
    assert toy.encode_ordinary_batch(["low", " low"]) == [[257], [258]]
    array = toy.encode_to_numpy("low low")
    assert array.dtype == np.uint32
    assert toy.encode_single_token("low") == toy.encode_single_token(b"low") == 257
    assert toy.encode_single_token("<|x|>") == 301
    with pytest.raises(KeyError):
        toy.encode_single_token("lows")


def test_surrogates_are_repaired(toy: Encoding) -> None:
    assert toy.encode("\ud83d\ude42") == toy.encode("🙂")
    assert toy.encode("\ud83d") == toy.encode("\ufffd")


def test_decoding(toy: Encoding) -> None:
    assert toy.decode([257, 258]) == "low low"
    assert toy.decode_bytes([257, 255]) == b"low\xff"
    assert toy.decode([255]) == "\ufffd"
    assert toy.decode_single_token_bytes(258) == b" low"
    assert toy.decode_tokens_bytes([257, 300]) == [b"low", b"<|endoftext|>"]
    assert toy.decode_batch([[257], [258]]) == ["low", " low"]
    assert toy.decode_bytes_batch([[257], [258]]) == [b"low", b" low"]
    assert toy.decode_with_offsets([257, 0xC3, 0xA9, 258]) == ("lowé low", [0, 3, 3, 4])
    for call in (toy.decode, toy.decode_bytes, toy.decode_tokens_bytes):
        with pytest.raises(KeyError):
            call([299])
    with pytest.raises(KeyError):
        toy.decode_single_token_bytes(10**6)
    for call in (lambda: toy.decode([-1]), lambda: toy.decode_single_token_bytes(2**32)):
        with pytest.raises(OverflowError):
            call()
    for call in (
        lambda: toy.decode(["a"]),
        lambda: toy.decode(5),
        lambda: toy.decode_single_token_bytes("a"),
    ):
        with pytest.raises(TypeError):
            call()


def test_texts_and_sets_are_checked(toy: Encoding) -> None:
    for text in (b"low", 5, None):
        with pytest.raises(TypeError):
            toy.encode(text)
    with pytest.raises(TypeError):
        toy.encode("low", allowed_special=["<|x|>"])
    with pytest.raises(ValueError, match="''"):
        toy.encode("low", disallowed_special={""})
    for threads in (0, -1):
        with pytest.raises(ValueError, match="num_threads"):
            toy.decode_batch([[257]], num_threads=threads)


def test_disallowed_names_are_searched_before_surrogates_are_repaired() -> None:
    encoding = Encoding("toy", pat_str=r"\w+|\W", mergeable_ranks=RANKS, special_tokens={"\ufffd": 300})
    assert encoding.encode("\ud83d") == list("\ufffd".encode())
    with pytest.raises(ValueError, match="disallowed"):
        encoding.encode("\ud83d\ufffd")


def test_ordinary_tokens_come_before_special_ones() -> None:
    encoding = Encoding("toy", pat_str=r"\w+|\W", mergeable_ranks=RANKS, special_tokens={"low": 300})
    assert encoding.encode_single_token("low") == 257
    assert encoding.encode("low", allowed_special="all") == [300]


def test_bytes_that_stop_being_text_are_one_piece() -> None:
    ranks = RANKS | {b" low\xff": 259}
    encoding = Encoding("toy", pat_str=r" ?\w+|\s+", mergeable_ranks=ranks, special_tokens={})
    assert encoding._encode_bytes(b"low low\xff") == [257, 259]
    assert encoding._encode_single_piece(b"lo\xff") == [256, 255]


def test_pickling(toy: Encoding) -> None:
    again = pickle.loads(pickle.dumps(toy))
    assert again.name == "toy"
    assert again.encode("low low") == [257, 258]


def test_a_packaged_encoding_is_pickled_by_its_name() -> None:
    encoding = get_encoding("gpt2")
    assert pickle.loads(pickle.dumps(encoding)) is encoding
    assert len(pickle.dumps(encoding)) < 100


def test_from_a_tokenizer() -> None:
    tok = Tokenizer.train(b"low low lower", vocab_size=260)
    encoding = Encoding.from_tokenizer(tok, "mine")
    assert encoding.encode("lower") == tok.encode("lower")
    assert encoding.n_vocab == tok.vocab_size


def test_packaged() -> None:
    assert "cl100k_base" in list_encoding_names()
    assert get_encoding("gpt2").encode("Hello, world!") == [15496, 11, 995, 0]
    assert encoding_for_model("text-davinci-edit-001").encode("<|fim_middle|>", allowed_special="all") == [
        50282
    ]
    for name in ("no such", 5):
        with pytest.raises(ValueError, match="encoding"):
            get_encoding(name)
