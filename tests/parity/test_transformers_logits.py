"""Logits, losses and gradients against `transformers`, with random weights made there, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gptmodel import hf
from gptmodel.load import load_model

transformers = pytest.importorskip("transformers")

SMALL = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 24}
ROTARY = SMALL | {"num_attention_heads": 4, "intermediate_size": 56, "tie_word_embeddings": False}
GPT2 = {"vocab_size": 61, "n_positions": 24, "n_embd": 32, "n_layer": 2, "n_head": 4}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", GPT2),
    "gpt2, erf GELU, inner width, untied": (
        "GPT2",
        GPT2 | {"activation_function": "gelu", "n_inner": 40, "tie_word_embeddings": False},
    ),
    "llama": ("Llama", ROTARY),
    "llama, grouped heads": ("Llama", ROTARY | {"num_key_value_heads": 2}),
    "llama, one key head, wide heads, other base": (
        "Llama",
        ROTARY
        | {
            "num_key_value_heads": 1,
            "head_dim": 10,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        },
    ),
    "llama, biases, tied": (
        "Llama",
        ROTARY | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "qwen2": ("Qwen2", ROTARY | {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3", ROTARY | {"num_key_value_heads": 2, "head_dim": 8}),
    "nanochat": ("NanoChat", ROTARY),
    "nanochat, grouped heads, no cap": (
        "NanoChat",
        ROTARY | {"num_key_value_heads": 2, "final_logit_softcapping": None},
    ),
}


def reference(family: str, options: dict[str, Any]) -> Any:
    """A model of transformers, with weights large enough that a wrong one shows."""
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    config = getattr(transformers, f"{family}Config")(**options, **special)
    name = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    torch.manual_seed(1)
    model = getattr(transformers, name)(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.3 if weight.ndim == 2 else 0.5) + (weight.ndim == 1))
    return model.eval()


@pytest.fixture(params=CASES, scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """Their model, ours read from the folder they saved, and that folder."""
    theirs = reference(*CASES[request.param])
    folder = tmp_path_factory.mktemp("model")
    theirs.save_pretrained(folder)
    return theirs, load_model(folder), folder


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(0, 61, (3, 25), generator=torch.Generator().manual_seed(0))


def test_logits(pair: tuple[Any, Any, Path], ids: torch.Tensor) -> None:
    theirs, ours, _ = pair
    with torch.no_grad():
        torch.testing.assert_close(ours(ids[:, :24]), theirs(ids[:, :24]).logits, atol=1e-4, rtol=1e-5)


def test_loss_and_gradients(pair: tuple[Any, Any, Path], ids: torch.Tensor) -> None:
    """A fine-tuning run starts at transformers' loss, and its first step goes the same way."""
    theirs, ours, _ = pair
    inputs, targets = ids[:, :-1], ids[:, 1:].clone()
    targets[0, 5:9] = -1
    loss = ours.loss(inputs, targets)
    logits = theirs(inputs).logits.float()
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    assert abs(loss.item() - expected.item()) < 1e-5
    ours.zero_grad()
    theirs.zero_grad()
    loss.backward()
    expected.backward()
    _, gradients = hf.to_hugging_face(ours.config, {n: p.grad for n, p in ours.named_parameters()})
    compared = 0
    for name, parameter in theirs.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=2e-5, rtol=1e-3, msg=name)
            compared += 1
    assert compared == len(gradients)


def test_a_folder_written_back_is_the_same(pair: tuple[Any, Any, Path]) -> None:
    theirs, ours, _ = pair
    raw, tensors = hf.to_hugging_face(ours.config, ours.state_dict())
    assert raw["architectures"] == [type(theirs).__name__]
    expected = {n: t for n, t in theirs.state_dict().items() if n in tensors}
    assert expected.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name]), name
