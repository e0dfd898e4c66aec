"""Names as people write them: what simply works, and what an error says of the others."""

from __future__ import annotations

import pytest

from gptbpe import Tokenizer, names, packaged
from gptbpe.errors import PatternError, TokenizerError, TrainingError

MEANT = {
    "cl100k_base": "cl100k_base",
    "cl100k": "cl100k_base",
    "CL100K-base": "cl100k_base",
    "o200k": "o200k_base",
    "p50k": "p50k_base",
    "gpt2": "gpt2",
    "gpt-2": "gpt2",
    "GPT2": "gpt2",
    "gpt2-xl": "gpt2",
    "openai-community/gpt2": "gpt2",
    "gpt-4": "cl100k_base",
    "gpt-4-0613": "cl100k_base",
    "gpt-4o": "o200k_base",
    "gpt-4o-2024-05-13": "o200k_base",
    "text-davinci-003": "p50k_base",
    "davinci": "r50k_base",
}


@pytest.mark.parametrize(("name", "encoding"), MEANT.items())
def test_encodings_by_any_name(name: str, encoding: str) -> None:
    assert names.encoding(name, packaged.names()) == encoding


def test_get_takes_any_name() -> None:
    assert Tokenizer.get("gpt-2") == Tokenizer.get("gpt2")
    assert Tokenizer.get("cl100k") == Tokenizer.get("gpt-4") == Tokenizer.get("cl100k_base")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gtp2", "did you mean 'gpt2'"),
        ("cl100_base", "did you mean 'cl100k_base'"),
        ("llama3", "there are gpt2, r50k_base"),
        ("", "there are gpt2"),
        ("gpt-oss-20b", r"compat.tiktoken.get_encoding\('o200k_harmony'\)"),
        ("p50k_edit", r"compat.tiktoken.get_encoding\('p50k_edit'\)"),
        ("tokenizer.json", "Tokenizer.load"),
        (None, "no packaged encoding"),
        (5, "no packaged encoding"),
    ],
)
def test_unknown_encodings_are_answered(name: object, said: str) -> None:
    with pytest.raises(TokenizerError, match=said):
        Tokenizer.get(name)


@pytest.mark.parametrize(
    ("given", "pattern"),
    [
        ("cl100k_base", "cl100k"),
        ("CL100K", "cl100k"),
        ("o200k_base", "o200k"),
        ("r50k_base", "gpt2"),
        ("p50k", "gpt2"),
        ("gpt-2", "gpt2"),
        ("gpt-4o", "o200k"),
        ("llama-3", "llama3"),
        ("Llama_3", "llama3"),
        ("qwen", "qwen2"),
        ("qwen3", "qwen2"),
        ("deepseek-v3", "deepseek"),
        ("none", None),
    ],
)
def test_patterns_by_any_name(given: str, pattern: str | None) -> None:
    trained = Tokenizer.train(b"low low lower", 258, pattern=given)
    assert trained.pattern == pattern
    assert trained == Tokenizer.train(b"low low lower", 258, pattern=pattern)
    assert Tokenizer.train_from_counts({"lo": 2}, 258, pattern=given).pattern == pattern
    ranks = Tokenizer.get("gpt2").ranks()
    assert Tokenizer.from_ranks(ranks, pattern=given).pattern == pattern


def test_what_is_no_word_is_a_regex() -> None:
    for regex in (r"\w+", "a b", "gpt-3.5", "x+"):
        assert names.pattern(regex) == regex
    assert names.pattern(["cl100k_base"]) == ["cl100k_base"]
    assert names.pattern(None) is None


def test_unknown_patterns_are_answered() -> None:
    with pytest.raises(PatternError, match="did you mean 'gpt2'"):
        Tokenizer.train(b"low", 258, pattern="gtp2")
    with pytest.raises(PatternError, match="there are gpt2, cl100k"):
        Tokenizer.train(b"low", 258, pattern="abc")


@pytest.mark.parametrize("given", ["hugging-face", "HuggingFace", "hugging_face", "hf", "huggingface"])
def test_tie_breaks_by_any_name(given: str) -> None:
    text = b"ab cd ab cd"
    expected = Tokenizer.train(text, 259, tie_break="huggingface")
    assert Tokenizer.train(text, 259, tie_break=given) == expected  # type: ignore[arg-type]
    base = Tokenizer.train(text, 258, tie_break=given)  # type: ignore[arg-type]
    assert base.extend(text, 259, tie_break=given) == expected  # type: ignore[arg-type]


def test_unknown_tie_breaks_are_answered() -> None:
    with pytest.raises(TrainingError, match="did you mean 'smallest-ids'"):
        Tokenizer.train(b"low", 258, tie_break="smallest-id")  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="expected smallest-ids, huggingface"):
        Tokenizer.train_from_counts({"low": 1}, 258, tie_break="coin")  # type: ignore[typeddict-item]


def test_the_lists_are_those_of_the_core() -> None:
    for name in names.PATTERNS:
        Tokenizer.train(b"low low", 258, pattern=name)
    for rule in names.TIE_BREAKS:
        Tokenizer.train(b"low low", 258, tie_break=rule)


def test_models_are_those_of_tiktoken() -> None:
    tiktoken = pytest.importorskip("tiktoken.model")
    ours = {model: encoding for encoding, models in names.MODELS.items() for model in models.split()}
    assert ours == tiktoken.MODEL_TO_ENCODING
    families = {start: encoding for encoding, starts in names.FAMILIES.items() for start in starts.split()}
    assert families == tiktoken.MODEL_PREFIX_TO_ENCODING
    for model in [*ours, *(f"{start}x" for start in families)]:
        assert names.encoding_of_model(model) == tiktoken.encoding_name_for_model(model)
