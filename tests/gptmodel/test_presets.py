"""Presets: each is a valid model, and a name that is none says which was meant."""

from __future__ import annotations

import pytest

from gptmodel.model import ModelConfig
from gptmodel.presets import derive, names, preset, shape


@pytest.mark.parametrize("name", names())
def test_every_preset_is_a_valid_model(name: str) -> None:
    ModelConfig(**preset(name)["model"])


ROWS = [
    ("nano", {"width": 384, "layers": 6, "heads": 6, "context_length": 128, "vocab_size": 512}),
    (
        "micro",
        {"width": 384, "layers": 3, "heads": 3, "context_length": 256, "vocab_size": 384, "expansion": 2.0},
    ),
    (
        "gpt2",
        {"width": 768, "layers": 12, "heads": 12, "vocab_size": 50257, "position": "learned", "bias": True},
    ),
]


@pytest.mark.parametrize(("name", "fields"), ROWS, ids=[row[0] for row in ROWS])
def test_presets_have_the_sizes_they_are_known_for(name: str, fields: dict[str, object]) -> None:
    assert preset(name)["model"].items() >= fields.items()


@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"])
def test_gpt2_presets_are_transformers_sizes(name: str) -> None:
    """The sizes of OpenAI's four models, as transformers' configuration class would describe them."""
    from gptmodel.hf import ARCHITECTURES

    width, layers, heads = {
        "gpt2": (768, 12, 12),
        "gpt2-medium": (1024, 24, 16),
        "gpt2-large": (1280, 36, 20),
        "gpt2-xl": (1600, 48, 25),
    }[name]
    raw = ARCHITECTURES["GPT2LMHeadModel"].from_ours(ModelConfig(**preset(name)["model"]))
    assert (raw["n_embd"], raw["n_layer"], raw["n_head"], raw["n_positions"]) == (width, layers, heads, 1024)


@pytest.mark.parametrize(
    ("depth", "width", "heads"), [(1, 128, 1), (4, 256, 2), (12, 768, 6), (20, 1280, 10)]
)
def test_depth_is_the_one_dial_of_modern(depth: int, width: int, heads: int) -> None:
    assert shape("modern", depth) == {"layers": depth, "width": width, "heads": heads}
    assert ModelConfig(**preset("modern", depth=depth)["model"]).width == width


def test_modern_as_it_lies_there_is_depth_12() -> None:
    assert preset("modern") == preset("modern", depth=12)


def test_gpt2_as_it_lies_there_is_depth_12() -> None:
    assert preset("gpt2") == preset("gpt2", depth=12)


@pytest.mark.parametrize("family", ["gpt2", "modern"])
def test_depth_derives_batch_steps_and_rates(family: str) -> None:
    found = {
        depth: derive(family, depth, context_length=1024, vocab_size=50257) for depth in (1, 2, 6, 12, 24)
    }
    batches = [row["batch_size"] for row in found.values()]
    assert batches == sorted(batches)
    assert found[12]["learning_rate"] > found[24]["learning_rate"]
    assert all(row["max_steps"] >= 300 for row in found.values())
    assert ("matrix_learning_rate" in found[12]) == (family == "modern")


def test_gpt2_of_depth_12_has_the_batch_and_rate_of_the_papers() -> None:
    found = derive("gpt2", 12, context_length=1024, vocab_size=50257)
    assert (found["batch_size"], found["learning_rate"]) == (512, 6e-4)


def test_less_time_makes_a_smaller_batch() -> None:
    short = derive("modern", 3, context_length=128, vocab_size=512, tokens=1_000_000)
    long = derive("modern", 3, context_length=128, vocab_size=512, tokens=100_000_000)
    assert short["batch_size"] * 128 == 2048
    assert long["batch_size"] > short["batch_size"]


def test_a_table_is_the_callers_own() -> None:
    preset("nano")["model"]["width"] = 1
    assert preset("nano")["model"]["width"] == 384


@pytest.mark.parametrize(
    ("name", "depth", "message"),
    [
        ("smal", None, "no preset is called 'smal'.*there are gpt2, "),
        ("nanno", None, "did you mean 'nano'"),
        ("gpt-2", None, "did you mean 'gpt2'"),
        ("nano", 3, "depth is the dial of gpt2 and modern, not of 'nano'"),
        ("modern", 0, "at least 1, not 0"),
    ],
)
def test_a_wrong_preset_says_which_was_meant(name: str, depth: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preset(name, depth=depth)
