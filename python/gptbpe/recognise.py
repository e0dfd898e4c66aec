"""What a file is that is no tokenizer.json, and what to do with it: for the error of ``Tokenizer.load``.

Files are told apart by what is in them, and by their name where that is not enough. Nothing here is asked
while loading goes well.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePath

SUFFIX = ".tiktoken"

_LOOK = 1 << 16

_MARKS = (
    (b"PK\x03\x04", "an archive (a PyTorch checkpoint or a zip file), which holds no tokenizer"),
    (b"\x80\x02", "a pickle, such as an old PyTorch checkpoint, which holds no tokenizer"),
    (b"GGUF", "a GGUF model of llama.cpp; load the tokenizer.json of the model that it was made from"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"),
    (b"PAR1", "a Parquet file: data, no tokenizer"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"<!DOCTYPE", "a web page, no tokenizer; the download went wrong"),
    (b"<html", "a web page, no tokenizer; the download went wrong"),
)
_BESIDE = "the tokenizer is in the tokenizer.json beside it: load that file, or the folder"
_OTHER_JSON = {
    "tokenizer_config.json": "the settings of a transformers tokenizer",
    "special_tokens_map.json": "the names of a transformers tokenizer's special tokens",
    "added_tokens.json": "the added tokens of a transformers tokenizer",
    "config.json": "the configuration of a model",
    "generation_config.json": "a model's settings for generating text",
    "manifest.json": "the manifest of token shards; a folder of shards is read by ShardReader, which has "
    "its tokenizer",
}
_RANKS = (
    "ranks of tiktoken, which have neither a split pattern nor special tokens; call "
    "Tokenizer.from_tiktoken(path, "
    'pattern="cl100k", special_tokens={"<|endoftext|>": 100257}) with those of the model, or run `gptbpe '
    "import`"
)
_VOCAB = (
    "a vocabulary without its merges; call Tokenizer.from_gpt2(vocab_path, merges_path), or load the folder "
    "that holds vocab.json and merges.txt"
)
_MERGES = (
    "a list of merges without its vocabulary; call Tokenizer.from_gpt2(vocab_path, merges_path), or load "
    "the folder that holds vocab.json and merges.txt"
)
_SENTENCEPIECE = (
    "a SentencePiece model, which is no byte-level BPE; Hugging Face's transformers reads it, and the "
    "tokenizer.json that its save_pretrained writes can be tried here"
)
_TEKKEN = (
    "a Tekken tokenizer of mistral-common; open its folder with Hugging Face's transformers and load the "
    "tokenizer.json that save_pretrained writes"
)


def is_ranks(data: bytes) -> bool:
    """Whether a file begins as one of tiktoken's ranks: a token in base64 and its rank.

    >>> is_ranks(b"IQ== 0"), is_ranks(b"the cat sat")
    (True, False)
    """
    return re.match(rb"[A-Za-z0-9+/]+={0,2} +\d+\r?(\n|$)", data) is not None


def what(data: bytes, name: str) -> str | None:
    """Say what a file is that is no tokenizer.json, as the rest of a sentence, or None where it may be one.

    >>> what(b"#version: 0.2", "merges.txt").split(";")[0]
    'a list of merges without its vocabulary'
    """
    if not data.strip():
        return "an empty file"
    for mark, kind in _MARKS:
        if data.startswith(mark):
            return kind
    if data.lstrip()[:1] == b"{":
        return _json(data, PurePath(name).name)
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return "a safetensors file, which holds weights and no tokenizer"
    if is_ranks(data):
        return _RANKS
    if data.startswith(b"#version") or _is_pairs(data):
        return _MERGES
    # The first piece of every SentencePiece model: field 1, its text, its score.
    if re.match(rb"\n.\n.(<unk>|<pad>|<s>|\xe2\x96\x81)", data, re.DOTALL):
        return _SENTENCEPIECE
    if b"\0" in data[:_LOOK]:
        return "a binary file of an unknown kind"
    return None


def _json(data: bytes, name: str) -> str | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or ("model" in value and isinstance(value["model"], dict)):
        return None
    if name in _OTHER_JSON:
        return f"{_OTHER_JSON[name]}; {_BESIDE}" if "manifest" not in name else _OTHER_JSON[name]
    if "vocab" in value and "config" in value:
        return _TEKKEN
    if value and all(isinstance(id, int) for id in value.values()):
        return _VOCAB
    return f"JSON without a model, so no tokenizer.json; {_BESIDE}" if "model" not in value else None


def _is_pairs(data: bytes) -> bool:
    lines = data[:_LOOK].decode("utf-8", "replace").splitlines()[:20]
    return len(lines) > 1 and all(re.fullmatch(r"\S+ \S+", line) for line in lines)
