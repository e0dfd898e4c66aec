"""What is exported, others open: transformers with equal logits, text and ids, torch with equal weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gptmodel import hf
from gptmodel.export import export
from gptmodel.load import GPT
from gptmodel.model import ModelConfig
from gptmodel.presets import names, preset

SMALL = {"vocab_size": 300, "context_length": 64, "width": 32, "layers": 2, "heads": 4}
TEXTS = ["First Citizen: speak!", "naïve café — 汉字 🙂", "<|endoftext|>  two  spaces\n\n"]


def trained(preset_name: str, **changes: Any) -> GPT:
    """A preset in small, with every weight away from its start."""
    table = preset(preset_name)["model"] | {"kv_heads": None, "expansion": 2.5} | SMALL | changes
    model = GPT(ModelConfig(**table)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * (0.3 if weight.ndim == 2 else 0.2))
    return model


class HuggingFaceTokenizer:
    """What `export` asks of a tokenizer, over one that `tokenizers` trained."""

    def __init__(self) -> None:
        tokenizers = pytest.importorskip("tokenizers")
        self.inner = tokenizers.ByteLevelBPETokenizer()
        self.inner.train_from_iterator(TEXTS * 9, vocab_size=300, special_tokens=["<|endoftext|>"])
        self.special_tokens = {"<|endoftext|>": self.inner.token_to_id("<|endoftext|>")}

    def save(self, path: Path) -> None:
        self.inner.save(str(path))


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {}),
    ("gpt2", {"bias": False, "qkv_bias": True, "dropout": 0.1, "tied_head": False}),
    ("llama", {}),
    ("llama", {"kv_heads": 2, "tied_head": True, "rotary_base": 5e5}),
    ("llama", {"qkv_bias": True}),
    ("llama", {"qk_norm": True, "head_width": 16}),
    ("nano", {}),
    ("modern", {"kv_heads": 1}),
]


@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=lambda value: str(value))
def test_transformers_reads_the_folder(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours = trained(name, **changes)
    folder = export(ours, tmp_path / "out", tokenizer=HuggingFaceTokenizer())
    theirs, loading = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs.eval()
    ids = torch.randint(0, 300, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-4, rtol=1e-4)
    theirs.generation_config.eos_token_id = None
    text = theirs.generate(ids[:1, :10], max_new_tokens=50, do_sample=False)
    assert ours.generate(ids[0, :10].tolist(), 50, temperature=0) == text[0].tolist()


@pytest.mark.parametrize("name", ["gpt2", "llama", "nano"])
def test_auto_tokenizer_reads_the_folder(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = HuggingFaceTokenizer()
    folder = export(trained(name), tmp_path / "out", tokenizer=tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert theirs.eos_token_id == tokenizer.special_tokens["<|endoftext|>"]
    for text in TEXTS:
        assert theirs(text)["input_ids"] == tokenizer.inner.encode(text).ids
        assert theirs.decode(theirs(text)["input_ids"]) == text


@pytest.mark.parametrize("name", names())
def test_every_preset_fits_an_architecture(name: str) -> None:
    config = ModelConfig(**preset(name)["model"] | SMALL | {"kv_heads": None})
    raw, _ = hf.to_hugging_face(config, GPT(config).state_dict())
    assert raw["architectures"][0].endswith(("LMHeadModel", "ForCausalLM"))


def test_what_fits_nothing_is_refused_by_field() -> None:
    model = trained("gpt2", position="sinusoidal", qk_norm=True)
    with pytest.raises(
        ValueError, match=r"nearest is GPT2LMHeadModel, but here position is 'sinusoidal', qk_norm is True"
    ):
        hf.to_hugging_face(model.config, model.state_dict())


def test_what_fits_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="preset 'gpt2' would fit"):
        export(trained("gpt2", position="none"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_pth_opens_without_running_code(tmp_path: Path) -> None:
    model = trained("nano")
    state = torch.load(export(model, tmp_path / "model.pth", "pth"), weights_only=True)
    again = GPT(model.config, seed=None)
    again.load_state_dict(state)
    ids = torch.arange(12)[None]
    assert torch.equal(again.eval()(ids), model(ids))


def test_safetensors_carries_its_configuration(tmp_path: Path) -> None:
    from safetensors import safe_open

    model = trained("gpt2")
    path = export(model, tmp_path / "model.safetensors", "safetensors")
    with safe_open(path, "pt") as file:
        config = ModelConfig.model_validate_json(file.metadata()["config"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    assert config == model.config
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in state.items())


def test_from_a_folder_to_a_folder(tmp_path: Path) -> None:
    """Exported, loaded and exported again: the same files."""
    first = export(trained("llama"), tmp_path / "first")
    second = export(first, tmp_path / "second")
    for name in ("config.json", "model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("format", ["hf", "pth", "safetensors"])
def test_others_may_read_what_the_umask_lets_them(format: Any, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        out = export(trained("nano"), tmp_path / "out", format)
    finally:
        os.umask(before)
    files = list(out.iterdir()) if out.is_dir() else [out]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o644}


@pytest.mark.parametrize("format", ["hf", "pth", "safetensors"])
def test_nothing_is_overwritten_unasked(format: Any, tmp_path: Path) -> None:
    out = export(trained("nano"), tmp_path / "out", format)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match="is there already"):
        export(trained("nano"), out, format)
    export(trained("nano", dropout=0.5), out, format, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    if format == "hf":
        assert json.loads((out / "config.json").read_text())["attention_dropout"] == 0.5


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'onnx': there are hf, pth, safetensors"):
        export(trained("nano"), tmp_path / "out", "onnx")  # type: ignore[arg-type]


def test_a_folder_with_more_in_it_is_never_replaced(tmp_path: Path) -> None:
    model, out = trained("nano"), tmp_path / "model"
    export(model, out)
    export(model, out, overwrite=True)
    (out / "README.md").write_text("written by hand")
    for kind in ("hf", "pth", "safetensors"):
        with pytest.raises(FileExistsError, match=r"has other files in it|is a folder"):
            export(model, out, kind, overwrite=True)
    assert (out / "README.md").read_text() == "written by hand"
