"""`AutoTokenizer` on an exported folder gives the ids that our tokenizer gives, on real text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gptmodel.export import export
from gptmodel.model import GPT, ModelConfig
from gptmodel.presets import preset

transformers = pytest.importorskip("transformers")
gptbpe = pytest.importorskip("gptbpe", reason="the extension is not built")

CORPORA = ["tinyshakespeare", "enwiki_valid_5M", "zh_20M"]


@pytest.mark.parametrize(
    ("family", "kind"), [("gpt2", "bpe"), ("llama", "bpe"), ("nano", "bpe"), ("gpt2", "characters")]
)
def test_auto_tokenizer_gives_our_ids_on_three_corpora(
    family: str, kind: str, corpus: Callable[..., bytes], tmp_path: Path
) -> None:
    texts = {name: corpus(name, 60_000).decode(errors="ignore") for name in CORPORA}
    if kind == "bpe":
        tokenizer = gptbpe.Tokenizer.train_from_texts(texts.values(), vocab_size=600)
    else:
        tokenizer = gptbpe.Tokenizer.characters("".join(texts.values()).encode())
    small = {"width": 16, "layers": 1, "heads": 2, "kv_heads": None, "context_length": 32}
    table = preset(family)["model"] | small | {"vocab_size": tokenizer.vocab_size}
    folder = export(GPT(ModelConfig(**table)), tmp_path / "out", tokenizer=tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert len(theirs) == tokenizer.vocab_size
    assert theirs.eos_token_id == tokenizer.special_tokens["<|endoftext|>"]
    for name, text in texts.items():
        ids = theirs(text)["input_ids"]
        assert ids == tokenizer.encode(text, allowed_special="all"), name
        assert theirs.decode(ids) == text
