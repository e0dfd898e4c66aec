"""Files: round trips through every format, and what damage does."""

from __future__ import annotations

import base64
import json
import os
import random
import resource
import stat
from pathlib import Path

import pytest

from gptbpe import Tokenizer, packaged
from gptbpe.errors import GptBpeError, TokenizerError, TokenizerFileError

SAMPLES = ["", "Hello, world! 123", "It's naïve…\n\n  你好 🙂", " " * 50, "\0\x7f", "<|endoftext|>"]


def same_ids(one: Tokenizer, other: Tokenizer) -> bool:
    return all(one.encode_ordinary(sample) == other.encode_ordinary(sample) for sample in SAMPLES)


def test_save_and_load(tok: Tokenizer, chars: Tokenizer, tmp_path: Path) -> None:
    for number, one in enumerate([tok, chars, Tokenizer.get("gpt2"), Tokenizer.get("cl100k_base")]):
        path = tmp_path / f"{number}.json"
        one.save(path)
        again = Tokenizer.load(path)
        assert again == one
        assert again.fingerprint == one.fingerprint
        assert again.special_tokens == one.special_tokens
        assert again.pattern == one.pattern
        assert Tokenizer.from_bytes(one.to_bytes()) == one
        assert Tokenizer.from_json(str(path)) == one


@pytest.mark.parametrize("pattern", ["gpt2", "o200k", "deepseek", r"\w+|\W", [r"\d+", r"\w+"], None])
def test_every_pattern_survives_a_file(pattern: object, text: str) -> None:
    one = Tokenizer.train(text.encode(), 300, pattern=pattern)
    again = Tokenizer.from_bytes(one.to_bytes())
    assert again == one
    assert again.pattern == one.pattern


def test_the_file_is_hugging_faces(tok: Tokenizer) -> None:
    document = json.loads(tok.to_bytes())
    assert document["model"]["type"] == "BPE"
    assert len(document["model"]["merges"]) == len(tok.merges)
    assert {token["content"] for token in document["added_tokens"]} == set(tok.special_tokens)


def test_saving_is_atomic(tok: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tok.save(path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            tok.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]


def test_saving_follows_links_and_respects_the_umask(tok: Tokenizer, tmp_path: Path) -> None:
    target = tmp_path / "real.json"
    target.write_bytes(b"old")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    tok.save(link)
    assert link.is_symlink()
    assert Tokenizer.load(target) == tok
    previous = os.umask(0o027)
    try:
        tok.save(tmp_path / "new.json")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o640


def test_saving_where_it_cannot_be(tok: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        tok.save(tmp_path / "no" / "such" / "folder.json")
    assert caught.value.filename == str(tmp_path / "no" / "such" / "folder.json")
    with pytest.raises(IsADirectoryError):
        tok.save(tmp_path)


def test_loading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Tokenizer.load(tmp_path / "missing.json")
    with pytest.raises(TokenizerFileError, match="is empty"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    "contents",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"hello", b'{"model": {"type": "BPE"}}', b"\0" * 100],
)
def test_loading_what_is_no_tokenizer(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(contents)
    with pytest.raises(TokenizerFileError, match=r"bad\.json"):
        Tokenizer.load(path)


def test_every_truncation_is_an_error(tok: Tokenizer) -> None:
    data = tok.to_bytes()
    assert data.rstrip() == data or data.endswith(b"\n")
    for length in range(0, len(data.rstrip()) - 1, 37):
        with pytest.raises(TokenizerFileError):
            Tokenizer.from_bytes(data[:length])


def test_flipped_bits_never_panic(tok: Tokenizer) -> None:
    data = tok.to_bytes()
    dice = random.Random(1)
    for _ in range(400):
        place = dice.randrange(len(data) * 8)
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        try:
            other = Tokenizer.from_bytes(bytes(damaged))
        except GptBpeError:
            continue
        for sample in SAMPLES:
            assert other.decode(other.encode_ordinary(sample)) == sample


def test_tiktoken_files(tok: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "mine.tiktoken"
    tok.save_tiktoken(path)
    lines = path.read_bytes().splitlines()
    assert [base64.b64decode(line.split()[0]) for line in lines] == list(tok.ranks())
    again = Tokenizer.from_tiktoken(path, pattern=tok.pattern, special_tokens=tok.special_tokens)
    assert same_ids(again, tok)
    assert again.special_tokens == tok.special_tokens
    assert same_ids(Tokenizer.from_ranks(tok.ranks(), pattern=tok.pattern), tok)


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"YQ==",
        b"YQ== 0 1",
        b"!!! 0",
        b"YQ== x",
        b"YQ== 0\nYQ== 1",
        b"YQ== 0\nYg== 0",
        b"YQ== 99999999999",
    ],
)
def test_damaged_tiktoken_files(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.tiktoken"
    path.write_bytes(contents)
    with pytest.raises(TokenizerError):
        Tokenizer.from_tiktoken(path, pattern="gpt2")


def test_gpt2_files(tok: Tokenizer, tmp_path: Path) -> None:
    tok.save_gpt2(tmp_path / "folder")
    again = Tokenizer.from_gpt2(
        tmp_path / "folder" / "vocab.json",
        tmp_path / "folder" / "merges.txt",
        pattern=tok.pattern,
    )
    assert same_ids(again, tok)
    assert again.special_tokens == tok.special_tokens
    with pytest.raises(TokenizerFileError):
        Tokenizer.from_gpt2(tmp_path / "folder" / "merges.txt", tmp_path / "folder" / "vocab.json")


def test_clashing_special_tokens() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    with pytest.raises(TokenizerError):
        Tokenizer.from_ranks(ranks, pattern="gpt2", special_tokens={"<a>": 5})
    with pytest.raises(TokenizerError, match="0x07"):
        Tokenizer.from_ranks({token: rank for token, rank in ranks.items() if rank != 7}, pattern="gpt2")


@pytest.mark.parametrize(
    ("name", "size", "specials"),
    [
        ("gpt2", 50257, {"<|endoftext|>": 50256}),
        ("r50k_base", 50257, {"<|endoftext|>": 50256}),
        ("p50k_base", 50281, {"<|endoftext|>": 50256}),
        (
            "cl100k_base",
            100277,
            {
                "<|endoftext|>": 100257,
                "<|fim_prefix|>": 100258,
                "<|fim_middle|>": 100259,
                "<|fim_suffix|>": 100260,
                "<|endofprompt|>": 100276,
            },
        ),
        ("o200k_base", 200019, {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}),
    ],
)
def test_packaged_encodings(name: str, size: int, specials: dict[str, int]) -> None:
    tok = Tokenizer.get(name)
    assert tok.vocab_size == size
    assert tok.special_tokens == specials
    for sample in SAMPLES:
        assert tok.decode(tok.encode_ordinary(sample)) == sample


def test_packaged_encodings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TokenizerError, match="cl100k_base"):
        Tokenizer.get("gpt9")
    entry = packaged.ENCODINGS["r50k_base"]
    monkeypatch.setitem(packaged.ENCODINGS, "damaged", entry._replace(sha256="0" * 64))
    with pytest.raises(TokenizerFileError, match="damaged"):
        Tokenizer.get("damaged")


def test_characters_have_no_other_form(chars: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError):
        chars.save_tiktoken(tmp_path / "x")
    with pytest.raises(TokenizerError):
        chars.save_gpt2(tmp_path / "y")
