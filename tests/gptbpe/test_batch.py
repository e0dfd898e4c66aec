"""A tokenizer that is called, spans, tokens as text, special tokens left out: as Hugging Face's do it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import Tokenizer
from gptbpe.errors import TextError, TokenizerError, UnknownTokenError

TEXTS = ["low lower", "Hello, world! It is", "", "你好 🙂"]


@pytest.fixture(scope="module")
def folder(tok: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("folder")
    tok.save_pretrained(made, model_max_length=6)
    return made


@pytest.fixture(scope="module")
def ours(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


CALLS = [
    {"padding": padding, "truncation": truncation, "max_length": length, "padding_side": side}
    for padding, truncation, length, side in itertools.product(
        (False, True, "longest", "max_length"), (False, True), (None, 3, 12), ("left", "right")
    )
]


@pytest.mark.parametrize("options", CALLS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.filterwarnings("ignore")
def test_lists_are_those_of_transformers(ours: Tokenizer, theirs: Any, options: dict[str, Any]) -> None:
    for texts in (TEXTS, TEXTS[:1], TEXTS[1]):
        expected = theirs(texts, add_special_tokens=False, **options)
        made = ours(texts, **options)
        assert made["input_ids"] == expected["input_ids"]
        assert made["attention_mask"] == expected["attention_mask"]


@pytest.mark.parametrize("kind", ["np", "pt"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_arrays_are_those_of_transformers(ours: Tokenizer, theirs: Any, kind: str, side: str) -> None:
    if kind == "pt":
        pytest.importorskip("torch")
    for texts in (TEXTS, TEXTS[1]):
        expected = theirs(
            texts, padding=True, add_special_tokens=False, return_tensors=kind, padding_side=side
        )
        made = ours(texts, padding=True, return_tensors=kind, padding_side=side)
        for key in made:
            assert made[key].dtype == expected[key].dtype
            assert made[key].tolist() == expected[key].tolist()


def test_a_batch_is_a_mapping(ours: Tokenizer) -> None:
    batch = ours(["a", "b c"], padding=True, return_tensors="np")
    assert {**batch}.keys() == {"input_ids", "attention_mask"}
    assert batch.input_ids is batch["input_ids"]
    assert len(batch) == 2
    assert "input_ids=" in repr(batch)
    with pytest.raises(KeyError):
        batch["labels"]


def test_tensors_move(ours: Tokenizer) -> None:
    torch = pytest.importorskip("torch")
    batch = ours("low", return_tensors="pt").to("cpu")
    assert batch.input_ids.shape == batch.attention_mask.shape == (1, len(ours.encode("low")))
    assert batch.input_ids.dtype == torch.int64


def test_any_dtype_that_holds_the_ids(ours: Tokenizer) -> None:
    for dtype in ("int64", "int32", np.uint16):
        batch = ours(TEXTS, padding=True, return_tensors="np", dtype=dtype)
        assert batch.input_ids.dtype == np.dtype(dtype)
        assert batch.attention_mask.dtype == np.dtype(dtype)
    for dtype in ("uint8", "float32"):
        with pytest.raises(TokenizerError, match="cannot hold the id"):
            ours(TEXTS, padding=True, return_tensors="np", dtype=dtype)


def test_any_text_and_no_text(ours: Tokenizer) -> None:
    expected = ours.encode("low")
    for text in (b"low", bytearray(b"low"), memoryview(b"low")):
        assert ours(text).input_ids == expected
    assert ours(iter(["low", b"low"])).input_ids == [expected, expected]
    assert ours([]).input_ids == []
    assert ours([], padding=True, return_tensors="np").input_ids.shape == (0, 0)
    assert ours("", return_tensors="np").input_ids.shape == (1, 0)
    with pytest.raises(TextError, match=r"texts\[1\]"):
        ours(["a", 5])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"padding": "most"}, '"longest", "max_length"'),
        ({"truncation": "only_first"}, "expected True or False"),
        ({"padding_side": "top"}, 'expected "left" or "right"'),
        ({"return_tensors": "tf"}, 'expected "np", "pt"'),
        ({"return_tensors": "np"}, "pass padding=True"),
        ({"max_length": -1}, "expected 0 or more"),
    ],
)
def test_what_cannot_be_is_said(ours: Tokenizer, options: dict[str, Any], said: str) -> None:
    with pytest.raises(TokenizerError, match=said):
        ours(TEXTS, **options)


def test_padding_needs_a_token_and_truncation_a_length() -> None:
    gpt2 = Tokenizer.get("gpt2")
    with pytest.raises(TokenizerError, match=r"pass pad_token_id=.*with_special_tokens"):
        gpt2(["a", "b c"], padding=True)
    assert gpt2(["a", "b c"], padding=True, pad_token_id=50256).input_ids == [[64, 50256], [65, 269]]
    assert gpt2.with_special_tokens(["<|pad|>"])(["a", "b c"], padding=True).input_ids[0] == [64, 50257]
    for options in ({"truncation": True}, {"padding": "max_length", "pad_token_id": 0}):
        with pytest.raises(TokenizerError, match="pass max_length="):
            gpt2("a", **options)


def test_special_tokens_in_text_are_refused_unless_allowed(ours: Tokenizer) -> None:
    with pytest.raises(ValueError, match="allowed_special"):
        ours("<|pad|>")
    assert ours("<|pad|>", allowed_special="all").input_ids == [ours.special_tokens["<|pad|>"]]
    assert len(ours("<|pad|>", disallowed_special=()).input_ids) > 1


def test_torch_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys; from gptbpe import Tokenizer\n"
        "Tokenizer.get('gpt2')(['a', 'b c'], padding=True, pad_token_id=0, return_tensors='np')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- spans ------------------------------------------------------------------------------------------


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_spans_are_those_of_tokenizers(text: str, tok: Tokenizer) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    global _THEIRS
    if _THEIRS is None:
        _THEIRS = tokenizers.Tokenizer.from_str(tok.to_bytes().decode())
    ids, spans = tok.encode_with_spans(text, disallowed_special=())
    if "<|" not in text:
        expected = _THEIRS.encode(text)
        assert (ids, spans) == (expected.ids, expected.offsets)


_THEIRS: Any = None


@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.binary())
def test_spans_of_bytes_are_the_tokens(text: str | bytes, tok: Tokenizer) -> None:
    data = text.encode() if isinstance(text, str) else text
    ids, spans = tok.encode_with_spans(text, unit="bytes", disallowed_special=())
    assert ids == tok.encode_ordinary(text)
    assert [data[start:stop] for start, stop in spans] == [tok.token_bytes(id) for id in ids]


def test_units_of_spans(tok: Tokenizer) -> None:
    assert tok.encode_with_spans(b"\xff") == tok.encode_with_spans(b"\xff", unit="bytes") == ([255], [(0, 1)])
    assert tok.encode_with_spans("é<|pad|>", allowed_special="all")[1][-1] == (1, 8)
    assert tok.encode_with_spans("é".encode(), unit="characters") == tok.encode_with_spans("é")
    with pytest.raises(TextError, match=r'not UTF-8 \(byte 0xff at 1\).*unit="bytes"'):
        tok.encode_with_spans(b"a\xff", unit="characters")
    with pytest.raises(TextError, match="surrogate"):
        tok.encode_with_spans("a\ud800")
    with pytest.raises(TokenizerError, match='expected "characters"'):
        tok.encode_with_spans("a", unit="letters")  # type: ignore[arg-type]


# ---- tokens as text ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tok", "chars", "gpt2", "o200k_base"])
def test_tokens_as_text_are_those_of_tokenizers(name: str, tok: Tokenizer, chars: Tokenizer) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = {"tok": tok, "chars": chars}.get(name) or Tokenizer.get(name)
    theirs = tokenizers.Tokenizer.from_str(made.to_bytes().decode())
    vocab = made.vocab
    assert vocab == theirs.get_vocab(with_added_tokens=True)
    assert list(vocab.values()) == sorted(vocab.values())
    for token, id in itertools.islice(vocab.items(), 0, None, max(1, len(vocab) // 500)):
        assert made.id_to_token(id) == theirs.id_to_token(id) == token
        assert made.token_to_id(token) == id
    for token, id in made.special_tokens.items():
        assert made.id_to_token(id) == theirs.id_to_token(id) == token
        assert made.token_to_id(token) == id
    for absent in ("", " world", "no such token"):
        assert made.token_to_id(absent) is None


def test_ids_without_a_token(tok: Tokenizer) -> None:
    for id in (-1, tok.vocab_size, 1 << 40):
        with pytest.raises(UnknownTokenError):
            tok.id_to_token(id)
    with pytest.raises(UnknownTokenError):
        Tokenizer.get("cl100k_base").id_to_token(100_261)


def test_a_string_that_is_special_and_ordinary() -> None:
    base = Tokenizer.train(b"low low", 258, special_tokens=[])
    both = base.with_special_tokens({"lo": 300})
    assert (both.token_to_id("lo"), both.id_to_token(256), both.id_to_token(300)) == (300, "lo", "lo")


# ---- special tokens left out ------------------------------------------------------------------------


def test_special_tokens_can_be_left_out(tok: Tokenizer) -> None:
    end, pad = tok.special_tokens.values()
    euro = tok.encode("€")
    assert len(euro) == 3
    ids = [pad, *tok.encode("low"), end, euro[0], pad, *euro[1:], end]
    for given_ids in (ids, tuple(ids), np.array(ids), np.array(ids, dtype=np.uint16), iter(ids)):
        assert tok.decode(given_ids, skip_special_tokens=True) == "low€"
    assert tok.decode_bytes(ids, skip_special_tokens=True) == "low€".encode()
    assert tok.decode_batch([ids, [end]], skip_special_tokens=True) == ["low€", ""]
    stream = tok.decode_stream(skip_special_tokens=True)
    assert "".join(map(stream.push, ids)) + stream.finish() == "low€"
    assert stream.push_all(ids) == "low€"
    assert tok.decode(ids).startswith("<|pad|>low<|endoftext|>")
    assert tok.decode([], skip_special_tokens=True) == ""


def test_unknown_ids_are_named_where_they_stand(tok: Tokenizer) -> None:
    end = tok.special_tokens["<|endoftext|>"]
    stream = tok.decode_stream(skip_special_tokens=True)
    for call in (
        lambda ids: tok.decode(ids, skip_special_tokens=True),
        lambda ids: tok.decode_bytes(np.array(ids), skip_special_tokens=True),
        stream.push_all,
    ):
        with pytest.raises(UnknownTokenError) as caught:
            call([end, end, 99_999])
        assert caught.value.index == 2
    with pytest.raises(TypeError):
        tok.decode([1], "replace", True)  # type: ignore[misc]


# ---- files with a post-processor and a normalizer ---------------------------------------------------


@pytest.fixture(scope="module")
def framed(tok: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose file puts tokens around every text."""
    folder = tmp_path_factory.mktemp("framed")
    tok.with_special_tokens(["<s>", "</s>"]).save_pretrained(
        folder, model_max_length=6, eos_token="<|endoftext|>"
    )
    document = json.loads((folder / "tokenizer.json").read_text())
    ids = {token["content"]: token["id"] for token in document["added_tokens"]}
    document["model"].pop("fingerprint")
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("<s>", "</s>")
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("options", CALLS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.filterwarnings("ignore")
def test_tokens_around_texts_are_those_of_transformers(framed: Path, options: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(str(framed), local_files_only=True)
    ours = Tokenizer.load(framed)
    for texts in (TEXTS, TEXTS[1]):
        for add in (True, False):
            expected = theirs(texts, add_special_tokens=add, **options)
            made = ours(texts, add_special_tokens=add, **options)
            assert made["input_ids"] == expected["input_ids"]
            assert made["attention_mask"] == expected["attention_mask"]
        assert ours(texts)["input_ids"] == theirs(texts)["input_ids"]


def test_tokens_around_texts_need_room(framed: Path) -> None:
    with pytest.raises(TokenizerError, match="no room for the 2 tokens"):
        Tokenizer.load(framed)("a", truncation=True, max_length=1)
    batch = Tokenizer.load(framed)(["", "low"], padding=True, return_tensors="np", dtype="uint16")
    assert batch.input_ids.shape[0] == 2


def test_what_stands_around_a_tokenizer_is_kept(framed: Path, tmp_path: Path) -> None:
    loaded = Tokenizer.load(framed)
    assert (loaded.bos_token_id, loaded.eos_token_id) == (
        loaded.special_tokens["<s>"],
        loaded.special_tokens["<|endoftext|>"],  # the folder says so
    )
    more = loaded.with_special_tokens(["<x>"])
    assert more("low").input_ids == loaded("low").input_ids == loaded.encode("low", add_special_tokens=True)
    more.save_pretrained(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again == more
    assert again("low").input_ids == loaded("low").input_ids


def test_spans_where_a_text_is_changed(tok: Tokenizer) -> None:
    document = json.loads(tok.to_bytes())
    document["model"].pop("fingerprint")
    document["normalizer"] = {"type": "NFD"}
    changed = Tokenizer.from_bytes(json.dumps(document))
    ids, spans = changed.encode_with_spans("aé!")
    assert changed.decode(ids) == "ae\u0301!"
    assert spans[0] == (0, 1)
    assert set(spans[1:-1]) == {(1, 2)}
    assert spans[-1] == (2, 3)
