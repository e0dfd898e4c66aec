"""Folders as transformers has them: what is kept, what is refused, and that AutoTokenizer agrees."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from gptbpe import Tokenizer
from gptbpe.errors import TokenizerError, TokenizerFileError

SAMPLES = ["Hello, world! 123", "It's naïve…\n\n  你好 🙂", " " * 9, "low lower", "x\r\ny\tz don't", "é" * 5]
SPECIAL = ["<|endoftext|>", "<|pad|>", "<|user|>"]


@pytest.fixture(scope="module")
def trained(text: str) -> Tokenizer:
    return Tokenizer.train(text.encode(), 330, special_tokens=SPECIAL)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def auto(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def agree(ours: Tokenizer, theirs: Any) -> None:
    assert len(theirs) == len(ours.vocab)
    assert theirs.get_vocab() == ours.vocab
    for sample in SAMPLES:
        ids = ours.encode(sample)
        assert theirs(sample, add_special_tokens=False)["input_ids"] == ids
        assert theirs.decode(ids) == ours.decode(ids) == sample
        assert theirs.convert_ids_to_tokens(ids) == [ours.id_to_token(id) for id in ids]
    special = "".join(ours.special_tokens) + "low"
    ids = ours.encode(special, allowed_special="all")
    assert theirs(special, add_special_tokens=False)["input_ids"] == ids
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids, skip_special_tokens=True) == "low"


def test_what_is_written(trained: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    trained.save_pretrained(folder, chat_template="{{ messages }}", model_max_length=128)
    assert {path.name for path in folder.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    }
    assert (folder / "tokenizer.json").read_bytes() == trained.to_bytes()
    assert (folder / "chat_template.jinja").read_text() == "{{ messages }}"
    config = read(folder / "tokenizer_config.json")
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_max_length"] == 128
    roles = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"}
    assert read(folder / "special_tokens_map.json") == roles
    assert config | roles == config
    assert set(config["added_tokens_decoder"]) == {str(id) for id in trained.special_tokens.values()}


@pytest.mark.parametrize("name", ["trained", "gpt2", "cl100k_base", "characters"])
def test_auto_tokenizer_agrees(name: str, trained: Tokenizer, tmp_path: Path) -> None:
    made = {"trained": trained, "characters": Tokenizer.characters("".join(SAMPLES).encode())}
    ours = made.get(name) or Tokenizer.get(name)
    if name == "characters":
        ours = Tokenizer.characters(b"".join(sample.encode() for sample in SAMPLES) + b"low")
    ours.save_pretrained(tmp_path, chat_template="{{ messages }}", model_max_length=77)
    theirs = auto(tmp_path)
    agree(ours, theirs)
    assert theirs.eos_token_id == ours.special_tokens["<|endoftext|>"]
    assert theirs.pad_token_id == ours.special_tokens.get("<|pad|>")
    assert theirs.model_max_length == 77
    assert theirs.chat_template == "{{ messages }}"


def test_what_transformers_writes_is_read(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path / "ours", model_max_length=64)
    theirs = auto(tmp_path / "ours")
    theirs.chat_template = {"default": "{{ a }}", "tool_use": "{{ b }}"}
    theirs.save_pretrained(tmp_path / "theirs")
    path = tmp_path / "theirs" / "tokenizer_config.json"
    path.write_text(json.dumps(read(path) | {"padding_side": "left"}))
    again = Tokenizer.load(tmp_path / "theirs")
    assert again == trained
    assert again.chat_template == "{{ a }}"
    again.save_pretrained(tmp_path / "again")
    last = auto(tmp_path / "again")
    assert last.chat_template == {"default": "{{ a }}", "tool_use": "{{ b }}"}
    assert (last.model_max_length, last.padding_side) == (64, "left")
    agree(again, last)


def test_saving_again_is_the_identity(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path / "a", chat_template="x", model_max_length=5, unk_token="<|user|>")
    Tokenizer.load(tmp_path / "a").save_pretrained(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes(), path.name


def test_nothing_else_in_the_folder_is_lost(trained: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "chat_template.jinja").write_text("mine")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(
            {"mine": [1], "padding_side": "left", "eos_token": "</s>", "auto_map": {"AutoTokenizer": "x.Y"}}
        )
    )
    trained.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"model_type": "gpt2"}'
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
    assert (tmp_path / "chat_template.jinja").read_text() == "mine"
    config = read(tmp_path / "tokenizer_config.json")
    assert (config["mine"], config["padding_side"], config["eos_token"]) == ([1], "left", "<|endoftext|>")
    assert "auto_map" not in config
    (tmp_path / "tokenizer_config.json").write_text("{")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TokenizerFileError, match=r"tokenizer_config\.json is damaged"):
        trained.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_special_tokens_are_checked_before_anything_is_written(trained: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(TokenizerFileError, match="with_special_tokens"):
        trained.save_pretrained(tmp_path / "new", pad_token="<nope>")
    assert not (tmp_path / "new").exists()


def test_settings_travel_with_the_tokenizer(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path, chat_template="x", model_max_length=3)
    loaded = Tokenizer.load(tmp_path)
    more = loaded.with_special_tokens(["<|x|>"])
    for other in (loaded, more, pickle.loads(pickle.dumps(loaded)), copy.copy(loaded), loaded.shrink(300)):
        assert other.chat_template == "x"
        assert other("low lower lowest", truncation=True)["input_ids"] == other.encode("low lower lowest")[:3]
    assert trained.chat_template is None


@pytest.mark.parametrize(
    "where", ["special_tokens_map.json", "tokenizer_config.json", "added_tokens_decoder"]
)
def test_tokens_that_only_the_settings_name_get_the_ids_of_transformers(
    trained: Tokenizer, tmp_path: Path, where: str
) -> None:
    trained.save_pretrained(tmp_path)
    (tmp_path / "special_tokens_map.json").unlink()
    config = read(tmp_path / "tokenizer_config.json")
    config.pop("added_tokens_decoder")
    more = {"bos_token": "<b>", "pad_token": {"content": "<p>", "lstrip": False, "__type": "AddedToken"}}
    more |= {"unk_token": trained.token_bytes(256).decode()}
    if where == "special_tokens_map.json":
        more["pad_token"] = {"content": "<p>", "lstrip": False, "rstrip": False, "normalized": False}
        (tmp_path / where).write_text(json.dumps(more))
    elif where == "tokenizer_config.json":
        config |= more | {"extra_special_tokens": ["<x>"]}
    else:
        options = {
            "lstrip": False,
            "rstrip": False,
            "single_word": False,
            "normalized": False,
            "special": True,
        }
        config[where] = {"340": {"content": "<z>"} | options, "332": {"content": "<y>"} | options}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours, theirs = Tokenizer.load(tmp_path), auto(tmp_path)
    assert ours.vocab == theirs.get_vocab()
    assert ours.vocab_size > trained.vocab_size
    for sample in [*SAMPLES, "a<b>low<p> low<x>", "<y><z>"]:
        assert (
            ours.encode(sample, allowed_special="all")
            == theirs(sample, add_special_tokens=False)["input_ids"]
        )


def test_gpt2s_pair_of_files(tmp_path: Path) -> None:
    gpt2 = Tokenizer.get("gpt2")
    gpt2.save_gpt2(tmp_path)
    assert Tokenizer.load(tmp_path) == gpt2
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "GPT2Tokenizer", "model_max_length": 9}'
    )
    agree(Tokenizer.load(tmp_path), auto(tmp_path))
    (tmp_path / "added_tokens.json").write_text('{"<b>": 50258, "<a>": 50257}')
    ours = Tokenizer.load(tmp_path)
    assert ours.special_tokens == {"<|endoftext|>": 50256, "<a>": 50257, "<b>": 50258}
    assert ours.vocab == auto(tmp_path).get_vocab()
    for config in ('{"tokenizer_class": "Qwen2Tokenizer"}', '{"add_prefix_space": true}'):
        (tmp_path / "tokenizer_config.json").write_text(config)
        with pytest.raises(TokenizerFileError, match="save_pretrained"):
            Tokenizer.load(tmp_path)


def test_ranks_named_as_an_encoding(tmp_path: Path) -> None:
    tok = Tokenizer.get("cl100k_base")
    tok.save_tiktoken(tmp_path / "cl100k_base.tiktoken")
    assert Tokenizer.load(tmp_path) == tok
    assert Tokenizer.load(tmp_path / "cl100k_base.tiktoken").special_tokens == tok.special_tokens
    shutil.copy(tmp_path / "cl100k_base.tiktoken", tmp_path / "mine.tiktoken")
    with pytest.raises(TokenizerFileError, match=r"2 \.tiktoken files"):
        Tokenizer.load(tmp_path)
    with pytest.raises(TokenizerFileError, match=r"Tokenizer\.from_tiktoken"):
        Tokenizer.load(tmp_path / "mine.tiktoken")


@pytest.mark.parametrize(
    ("name", "contents", "said"),
    [
        ("vocab.json", b'{"a": 0, "b": 1}', r"Tokenizer.from_gpt2\(vocab_path, merges_path\)"),
        ("merges.txt", b"#version: 0.2\nl o\nlo w\n", r"Tokenizer.from_gpt2\(vocab_path, merges_path\)"),
        ("vocab.bpe", b"l o\nlo w\n", "Tokenizer.from_gpt2"),
        ("x.tiktoken", b"IQ== 0\nIg== 1\n", 'from_tiktoken.*pattern="cl100k"'),
        ("ranks", b"IQ== 0\nIg== 1\n", "Tokenizer.from_tiktoken"),
        ("empty.tiktoken", b"", "an empty file"),
        ("pytorch_model.bin", b"PK\x03\x04abc", "PyTorch checkpoint.*no tokenizer"),
        ("old.pt", b"\x80\x02}q\x00.", "a pickle"),
        ("model.safetensors", (8).to_bytes(8, "little") + b'{"a":1} \0\0', "a safetensors file"),
        ("model.gguf", b"GGUF\x03\0\0\0", "a GGUF model of llama.cpp"),
        ("tokenizer.model", b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02", "a SentencePiece model"),
        ("tekken.json", b'{"config": {}, "vocab": []}', "a Tekken tokenizer"),
        ("tokenizer_config.json", b'{"model_max_length": 5}', "load that file, or the folder"),
        ("special_tokens_map.json", b'{"eos_token": "</s>"}', "load that file, or the folder"),
        ("config.json", b'{"model_type": "gpt2"}', "the configuration of a model"),
        ("tokenizer.json.gz", b"\x1f\x8b\x08abc", "compressed by gzip; unpack it"),
        ("tokenizer.json", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("tokenizer.json", b"<!DOCTYPE html>", "a web page"),
        ("tokenizer.json", b'{"model": "BPE"}', "model: there is none"),
        ("tokenizer.json", b'{"model": {"vocab": {}, "merges": []}, "added_tokens": [5]}', "an added token"),
        ("tokenizer.json", b'{"model": {"type": "WordPiece"}}', "the model WordPiece"),
        ("data.bin", b"\0\1\2\3\0\0", "a binary file of an unknown kind"),
        ("essay.txt", b"Once upon a time there was", "no tokenizer.json"),
    ],
)  # fmt: skip
def test_other_files_are_named_for_what_they_are(
    name: str, contents: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(TokenizerFileError, match=said) as caught:
        Tokenizer.load(tmp_path / name)
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert "struct" not in message
    assert "Outline" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "is empty"),
        (["config.json", "pytorch_model.bin"], "it holds config.json, pytorch_model.bin"),
        (["tokeniser.json"], "did you mean 'tokeniser.json'"),
        (["vocab.json"], "vocab.json with merges.txt"),
        (["manifest.json"], "ShardReader"),
        ([f"{number}.bin" for number in range(9)], "and 3 more"),
    ],
)
def test_folders_without_a_tokenizer(files: list[str], said: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(TokenizerFileError, match=said):
        Tokenizer.load(tmp_path)


def test_damaged_settings_are_named(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    for contents in ("{", "[]", "[" * 100_000):
        (tmp_path / "tokenizer_config.json").write_text(contents)
        with pytest.raises(TokenizerFileError, match=r"tokenizer_config\.json is damaged"):
            Tokenizer.load(tmp_path)


def test_with_special_tokens(trained: Tokenizer) -> None:
    more = trained.with_special_tokens(["<a>", "<b>"])
    assert more.special_tokens == trained.special_tokens | {"<a>": 330, "<b>": 331}
    assert [more.encode(sample) for sample in SAMPLES] == [trained.encode(sample) for sample in SAMPLES]
    assert more.merges == trained.merges
    assert more.encode("low<b>", allowed_special="all")[-1] == 331
    assert Tokenizer.from_bytes(more.to_bytes()) == more
    assert trained.with_special_tokens({"<a>": 400}).vocab_size == 401
    assert trained.with_special_tokens([]) == trained
    word = trained.token_bytes(256).decode()
    assert trained.with_special_tokens({word: 256}).vocab_size == trained.vocab_size
    chars = Tokenizer.characters(b"abc").with_special_tokens(["<a>"])
    assert chars.encode("a<a>", allowed_special="all") == [0, 4]
    gpt2 = Tokenizer.get("gpt2").with_special_tokens(["<a>"])
    assert gpt2.encode("hi<a>", allowed_special="all") == [5303, 50257]


@pytest.mark.parametrize(
    ("special_tokens", "said"),
    [
        (["<|pad|>"], "is a special token already, with the id 328"),
        ({"<|pad|>": 328}, "is a special token already"),
        ({"<a>": 328}, "another special token"),
        ({"<a>": 5}, "the id of another token"),
        ({"<a>": -1}, "ids are from 0"),
        ({"<a>": 1 << 40}, "ids are from 0"),
        ({"<a>": 400, "<b>": 400}, "another special token"),
        (["<a>", "<a>"], "is a special token already"),
        ([""], "empty"),
        ("<a>", r"write \['<a>'\]"),
        ({"<b>", "<a>"}, r"a set, which has no order.*write \['<a>', '<b>'\]"),
        ([5], "is a string"),
    ],
)
def test_clashing_special_tokens(trained: Tokenizer, special_tokens: Any, said: str) -> None:
    with pytest.raises(TokenizerError, match=said):
        trained.with_special_tokens(special_tokens)
