"""Folders in Hugging Face's form: sharded, bare, damaged, foreign, or fitted to another vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gptmodel import hf
from gptmodel.export import export
from gptmodel.load import GPT, adapt, assemble
from gptmodel.model import ModelConfig
from gptmodel.presets import preset

SMALL = {
    "vocab_size": 50,
    "context_length": 16,
    "width": 16,
    "layers": 2,
    "heads": 2,
    "kv_heads": None,
}


def small(name: str = "gpt2", **changes: Any) -> GPT:
    return GPT(ModelConfig(**preset(name)["model"] | SMALL | changes), seed=1).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return export(small(), tmp_path / "model")


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def retensor(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v.clone() for k, v in change(tensors).items()}, folder / "model.safetensors")


def same_weights(folder: Path) -> bool:
    _, state = hf.read(folder)
    return all(torch.equal(tensor, small().state_dict()[name]) for name, tensor in state.items())


def test_weights_without_the_prefix_of_the_wrapper(folder: Path) -> None:
    """OpenAI's own upload names `h.0.…`; a saved `GPT2LMHeadModel` names `transformer.h.0.…`."""
    retensor(folder, lambda tensors: {k.removeprefix("transformer."): v for k, v in tensors.items()})
    assert same_weights(folder)


def test_buffers_and_a_tied_head_are_no_surplus(folder: Path) -> None:
    def with_buffers(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        extra = {"transformer.h.0.attn.bias": torch.ones(1, 1, 16, 16).tril()}
        extra |= {"transformer.h.1.attn.masked_bias": torch.tensor(-1e4)}
        return tensors | extra | {"lm_head.weight": tensors["transformer.wte.weight"]}

    retensor(folder, with_buffers)
    assert same_weights(folder)


def test_weights_in_several_files(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {
        name: f"model-{1 + index % 2:05}-of-00002.safetensors" for index, name in enumerate(sorted(tensors))
    }
    for file in set(files.values()):
        save_file({name: tensors[name] for name in tensors if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    assert same_weights(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"names model-00002-of-00002\.safetensors, which is not there"
    ):
        hf.read(folder)


REFUSED = [
    ({"model_type": "mamba"}, "of type 'mamba': the types that can be read are gpt2, llama"),
    ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True, and only False"),
    ({"activation_function": "relu"}, "activation_function is 'relu'; supported are gelu_new"),
    (
        {"n_embd": 18},
        r"token_embedding|wte.weight has the shape \(50, 16\), and config.json asks for \(50, 18\)",
    ),
    ({"n_layer": 3}, r"lacks transformer.h.2.attn.c_attn.weight, .* and 9 more"),
    ({"n_layer": 1}, "holds tensors that this model has no place for: transformer.h.1"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=[str(row[0]) for row in REFUSED])
def test_what_the_model_cannot_do_is_refused_by_name(
    folder: Path, fields: dict[str, Any], message: str
) -> None:
    edit(folder, **fields)
    with pytest.raises(ValueError, match=message):
        hf.read(folder)


ROTARY_REFUSED = [
    ({"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "of type 'llama3' are not supported"),
    ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "of type 'linear' are not supported"),
    ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "over a part of each head are not supported"),
    ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types is .*, and only"),
    ({"attention_bias": True}, "attention_bias and mlp_bias differ"),
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu', and only 'silu'"),
]


@pytest.mark.parametrize(("fields", "message"), ROTARY_REFUSED, ids=[str(row[0]) for row in ROTARY_REFUSED])
def test_what_a_llama_cannot_do_here_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    folder = export(small("llama"), tmp_path / "llama")
    edit(folder, **fields)
    with pytest.raises(ValueError, match=message):
        hf.read(folder)


def test_the_rotary_base_of_older_configurations(tmp_path: Path) -> None:
    """Version 4 of transformers kept `rope_theta` beside the rest."""
    folder = export(small("llama"), tmp_path / "llama")
    edit(folder, rope_parameters=None, rope_theta=12345.0)
    assert hf.read(folder)[0].rotary_base == 12345.0


def test_damage_is_told_from_absence(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is damaged or not complete"):
        hf.read(folder)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"has neither model\.safetensors nor"):
        hf.read(folder)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="as a pickle, which can run code"):
        hf.read(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        hf.read(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="should hold an object"):
        hf.read(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config.json"):
        hf.read(folder)
    with pytest.raises(FileNotFoundError, match="no model folder at"):
        hf.read(tmp_path / "nowhere" / "at" / "all")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file: give the folder"):
        hf.read(tmp_path / "file")


def test_a_hub_name_is_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[tuple[str, Any]] = []

    def download(name: str, allow_patterns: Any) -> str:
        asked.append((name, allow_patterns))
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", download)
    config, _ = hf.read("someone/some-model")
    assert config == small().config
    assert asked == [("someone/some-model", ["*.json", "*.safetensors"])]


def test_a_hub_name_without_network_says_what_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def offline(name: str, allow_patterns: Any) -> str:
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    message = r"'gpt2' is not a folder here.*\(no route to host\): download config.json, .*co/gpt2 into"
    with pytest.raises(FileNotFoundError, match=message):
        hf.read("gpt2")


# Another vocabulary, another context


def test_another_vocabulary_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"knows 50 ids and the tokenizer has 512.*--resize-vocab"):
        adapt(small().config, small().state_dict(), vocab_size=512)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("vocab_size", [30, 50, 70])
def test_a_vocabulary_is_resized_on_request(name: str, vocab_size: int) -> None:
    """Logits of ids that both know stay; a new row is the mean of the old, so its logit is theirs."""
    model = small(name)
    config, state = adapt(model.config, model.state_dict(), vocab_size=vocab_size, resize_vocab=True)
    resized, ids = assemble(config, state).eval(), torch.arange(12)[None]
    before, after = model(ids), resized(ids)
    assert after.shape == (1, 12, vocab_size)
    shared = min(50, vocab_size)
    torch.testing.assert_close(after[..., :shared], before[..., :shared])
    if vocab_size > 50:
        expected = before.mean(-1, keepdim=True).expand(-1, -1, vocab_size - 50)
        torch.testing.assert_close(after[..., 50:], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_shorter_context_sees_the_same_in_what_it_sees(name: str) -> None:
    model = small(name)
    config, state = adapt(model.config, model.state_dict(), context_length=8)
    assert config.context_length == 8
    ids = torch.arange(8)[None]
    torch.testing.assert_close(assemble(config, state).eval()(ids), model(ids))


def test_a_longer_context_needs_positions_that_are_computed() -> None:
    llama, gpt2 = small("llama"), small("gpt2")
    config, state = adapt(llama.config, llama.state_dict(), context_length=32)
    assert assemble(config, state)(torch.zeros(1, 32, dtype=torch.long)).shape == (1, 32, 50)
    with pytest.raises(ValueError, match="for a context of 16, and 32 were asked for"):
        adapt(gpt2.config, gpt2.state_dict(), context_length=32)


def test_an_assembled_model_trains_and_is_not_shared(folder: Path) -> None:
    model = GPT.load(folder)
    ids = torch.arange(10)[None]
    model.train().loss(ids, ids).backward()
    assert all(weight.grad is not None and weight.requires_grad for weight in model.parameters())
    assert GPT.load(folder, dtype=torch.bfloat16)(ids).dtype == torch.bfloat16
