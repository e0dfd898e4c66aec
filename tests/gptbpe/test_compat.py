"""``gptbpe.compat.tiktoken.Encoding`` has tiktoken's surface; the ids are compared in tests/parity."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptbpe import Tokenizer
from gptbpe.compat import tiktoken
from gptbpe.compat.tiktoken import Encoding, encoding_for_model, get_encoding, list_encoding_names, load

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
    for call in (
        lambda: toy.decode([-1]),
        lambda: toy.decode([2**40]),
        lambda: toy.decode([299, -1]),
        lambda: toy.decode_single_token_bytes(2**32),
    ):
        with pytest.raises(OverflowError):
            call()
    for call in (
        lambda: toy.decode(["a"]),
        lambda: toy.decode(5),
        lambda: toy.decode_single_token_bytes("a"),
        lambda: toy.decode([1.5]),
        lambda: toy.decode({97}),
        lambda: toy.decode({97: 98}),
        lambda: toy.decode(iter([97])),
        lambda: toy.decode_bytes({97}),
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
    for name in list_encoding_names():
        assert get_encoding(name) is get_encoding(name)


def test_constructors_may_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"pat_str": r"\w+|\W", "mergeable_ranks": RANKS, "special_tokens": {}}
    monkeypatch.setitem(tiktoken.registry.ENCODING_CONSTRUCTORS, "mine", lambda: {"name": "mine", **mine})
    try:
        assert get_encoding("mine").encode("low") == [257]
        assert get_encoding("mine") is get_encoding("mine")
        assert "mine" in list_encoding_names()
    finally:
        tiktoken.registry.ENCODINGS.pop("mine", None)


def test_tiktokens_constructors_have_arguments_of_encoding() -> None:
    arguments = tiktoken.registry.ENCODING_CONSTRUCTORS["p50k_edit"]()
    text = "a <|fim_middle|>"
    assert Encoding(**arguments).encode(text, allowed_special="all") == [64, 220, 50282]


def test_it_stands_for_tiktoken() -> None:
    code = """
import sys
from gptbpe.compat import tiktoken as ours
sys.modules["tiktoken"] = ours
import tiktoken, tiktoken.core, tiktoken.load, tiktoken.model, tiktoken.registry
from tiktoken import Encoding
from tiktoken.load import load_tiktoken_bpe, data_gym_to_mergeable_bpe_ranks
assert tiktoken is ours
assert tiktoken.core.Encoding is ours.Encoding is Encoding
assert tiktoken.registry.get_encoding("gpt2") is ours.get_encoding("gpt2") is ours.encoding_for_model("gpt2")
assert tiktoken.registry.ENCODINGS["gpt2"] is ours.get_encoding("gpt2")
assert tiktoken.model.encoding_for_model("gpt-2") is ours.get_encoding("gpt2")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- ids that special tokens share -------------------------------------------------------------------


@pytest.fixture
def sharing() -> Encoding:
    special_tokens = {"<|x|>": 301, "<|y|>": 301, "<|z|>": 257, "<|endoftext|>": 302}
    return Encoding("sharing", pat_str=r"\w+|\W", mergeable_ranks=RANKS, special_tokens=special_tokens)


def test_special_tokens_may_share_an_id(sharing: Encoding) -> None:
    text = "low<|y|><|x|><|z|>"
    assert sharing.encode(text, allowed_special="all") == [257, 301, 301, 257]
    assert sharing.encode("<|y|>", allowed_special={"<|y|>"}) == [301]
    assert sharing.encode("<|y|>", disallowed_special=()) == list(b"<|y|>")
    with pytest.raises(ValueError, match="disallowed"):
        sharing.encode("<|y|>")
    assert sharing.encode_batch([text, "low"], allowed_special="all") == [[257, 301, 301, 257], [257]]
    assert sharing.encode_to_numpy(text, allowed_special="all").tolist() == [257, 301, 301, 257]
    assert sharing.encode_with_unstable("<|y|>lo", allowed_special="all")[0] == [301]
    assert sharing.encode_single_token("<|x|>") == sharing.encode_single_token("<|y|>") == 301
    assert sharing.special_tokens_set == {"<|x|>", "<|y|>", "<|z|>", "<|endoftext|>"}
    assert sharing.n_vocab == 303


def test_a_shared_id_is_decoded_as_its_first_owner(sharing: Encoding) -> None:
    assert sharing.decode([301, 257]) == "<|x|>low"
    for unknown in (300, 303, 304):
        with pytest.raises(KeyError):
            sharing.decode([unknown])
        with pytest.raises(KeyError):
            sharing.decode_single_token_bytes(unknown)


def test_encodings_that_share_ids_are_pickled(sharing: Encoding) -> None:
    again = pickle.loads(pickle.dumps(sharing))
    assert again.encode("<|y|><|z|>", allowed_special="all") == [301, 257]


# ---- pickles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["gpt2", None])
def test_states_are_tiktokens(toy: Encoding, state: Any) -> None:
    encoding = object.__new__(Encoding)
    encoding.__setstate__(state or toy.__getstate__())
    assert encoding.name == (state or "toy")
    assert encoding.__getstate__().keys() == {"name", "pat_str", "mergeable_ranks", "special_tokens"}
    assert get_encoding("gpt2").__getstate__() == "gpt2"


def test_reducers_of_other_programs(toy: Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    def reduce(encoding: Encoding) -> tuple[Any, ...]:
        make = functools.partial(
            Encoding,
            encoding.name,
            pat_str=encoding._pat_str,
            mergeable_ranks=encoding._mergeable_ranks,
            special_tokens=encoding._special_tokens,
        )
        return make, ()

    monkeypatch.setitem(copyreg.dispatch_table, Encoding, reduce)
    for encoding in (toy, get_encoding("gpt2")):
        again = pickle.loads(pickle.dumps(encoding))
        assert again is not encoding
        assert again.encode("low low") == encoding.encode("low low")


# ---- tiktoken.load -----------------------------------------------------------------------------------

PUBLIC = "https://openaipublic.blob.core.windows.net"
UNKNOWN = "https://example.org/encodings/mine.tiktoken"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "sha256"),
    [
        (
            "encodings/r50k_base.tiktoken",
            "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        ),
        (
            "encodings/p50k_base.tiktoken",
            "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        ),
        (
            "encodings/cl100k_base.tiktoken",
            "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        ),
        (
            "encodings/o200k_base.tiktoken",
            "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        ),
        (
            "gpt-2/encodings/main/vocab.bpe",
            "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        ),
        (
            "gpt-2/encodings/main/encoder.json",
            "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
        ),
    ],
)
def test_published_files_are_packaged_byte_for_byte(path: str, sha256: str, cache: Path) -> None:
    url = f"{PUBLIC}/{path}"
    assert load.check_hash(load.read_file(url), sha256)
    assert load.read_file_cached(url, sha256) == load.read_file(url)
    assert not list(cache.iterdir())


def test_gpt2s_pair_of_files() -> None:
    ranks = load.data_gym_to_mergeable_bpe_ranks(
        f"{PUBLIC}/gpt-2/encodings/main/vocab.bpe", f"{PUBLIC}/gpt-2/encodings/main/encoder.json"
    )
    assert ranks == load.load_tiktoken_bpe(f"{PUBLIC}/encodings/r50k_base.tiktoken")
    assert ranks == get_encoding("gpt2")._mergeable_ranks


def test_a_pair_of_local_files_must_agree(tmp_path: Path) -> None:
    merges, vocab = tmp_path / "vocab.bpe", tmp_path / "encoder.json"
    tok = Tokenizer.from_ranks(get_encoding("gpt2")._mergeable_ranks, pattern="gpt2").shrink(258)
    vocab_bytes, merges_bytes = tok._core.write_gpt2()
    merges.write_bytes(merges_bytes)
    ids = json.loads(vocab_bytes)
    vocab.write_text(json.dumps(ids | {"<|endoftext|>": 258}))
    ranks = load.data_gym_to_mergeable_bpe_ranks(str(merges), str(vocab))
    assert ranks == tok.ranks()

    swapped = ids | {"!": ids['"'], '"': ids["!"]}
    vocab.write_text(json.dumps(swapped))
    with pytest.raises(AssertionError, match="other ids"):
        load.data_gym_to_mergeable_bpe_ranks(str(merges), str(vocab))
    ranks = load.data_gym_to_mergeable_bpe_ranks(str(merges), str(vocab), clobber_one_byte_tokens=True)
    assert ranks[b"!"] == tok.ranks()[b'"']


def test_nothing_is_downloaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (UNKNOWN, "az://openaipublic/encodings/mine.tiktoken"):
        for read in (load.read_file, load.read_file_cached, load.load_tiktoken_bpe):
            with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
                read(url)
    key = hashlib.sha1(UNKNOWN.encode()).hexdigest()
    with pytest.raises(FileNotFoundError, match=key):
        load.read_file_cached(UNKNOWN)
    (cache / key).write_bytes(b"YQ== 0\n")
    assert load.load_tiktoken_bpe(UNKNOWN) == {b"a": 0}
    with pytest.raises(ValueError, match="sha256"):
        load.read_file_cached(UNKNOWN, "0" * 64)
    assert (cache / key).exists()

    monkeypatch.setenv("DATA_GYM_CACHE_DIR", str(cache))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    assert load.read_file_cached(UNKNOWN) == b"YQ== 0\n"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # no cache
    with pytest.raises(FileNotFoundError):
        load.read_file_cached(UNKNOWN)


def test_a_wrong_file_in_the_cache_gives_way_to_the_packaged_one(cache: Path) -> None:
    url = f"{PUBLIC}/encodings/r50k_base.tiktoken"
    (cache / hashlib.sha1(url.encode()).hexdigest()).write_bytes(b"YQ== 0\n")
    assert load.load_tiktoken_bpe(url) == {b"a": 0}
    sha256 = hashlib.sha256(load.read_file(url)).hexdigest()
    assert len(load.load_tiktoken_bpe(url, sha256)) == 50256


def test_ranks_are_written_and_read(tmp_path: Path) -> None:
    path = str(tmp_path / "mine.tiktoken")
    load.dump_tiktoken_bpe(dict(reversed(RANKS.items())), path)
    assert list(load.load_tiktoken_bpe(path).items()) == list(RANKS.items())
    assert load.read_file_cached(path) == load.read_file(path) == Path(path).read_bytes()
    with pytest.raises(ValueError, match="sha256"):
        load.load_tiktoken_bpe(path, "0" * 64)
    with pytest.raises(OSError, match="local files"):
        load.dump_tiktoken_bpe(RANKS, UNKNOWN)
    with pytest.raises(FileNotFoundError):
        load.load_tiktoken_bpe(path + "x")


@pytest.mark.parametrize("line", ["YQ==", "YQ== a", "YQ= 5", "YQ== 5 6"])
def test_lines_that_are_no_rank(line: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.tiktoken"
    path.write_text(f"YQ== 0\n\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="base64"):
        load.load_tiktoken_bpe(str(path))
