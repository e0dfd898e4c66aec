"""How five architectures of `transformers` name and arrange what `ModelConfig` describes.

Each is a rule that maps a `config.json` to a `ModelConfig` and back, and a list of `Tie`s, which say which
of our tensors is made of which of theirs. Import and export read the same rule and list, so what is
exported is what would be imported. What a `config.json` asks for and our model does not do is refused by
name; nothing is dropped silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gptmodel.model import ModelConfig

State = dict[str, Tensor]


@dataclass(frozen=True)
class Tie:
    """One of our tensors, made of one or more of theirs stacked by rows."""

    ours: str
    theirs: tuple[str, ...]
    transpose: bool = False
    """GPT-2's Conv1D keeps (inputs, outputs)."""
    swap: tuple[int, ...] = ()
    """Which of `theirs` have the halves of each head exchanged: NanoChat turns its pairs the other way."""


@dataclass(frozen=True)
class RawConfig:
    """A `config.json`, with errors that name its field and folder."""

    values: dict[str, Any]
    folder: Path

    def __getitem__(self, field: str) -> Any:
        if field not in self.values:
            raise ValueError(f"{self.folder / 'config.json'} lacks the field {field!r}")
        return self.values[field]

    def get(self, field: str, default: Any = None) -> Any:
        return self.values.get(field, default)

    def must(self, field: str, value: Any) -> None:
        if self.values.get(field, value) != value:
            raise ValueError(
                f"{self.folder}: {field} is {self.values[field]!r}, and only {value!r} is supported"
            )

    def choice(self, field: str, meanings: dict[str, Any], default: str) -> Any:
        value = self.values.get(field, default)
        if value not in meanings:
            raise ValueError(f"{self.folder}: {field} is {value!r}; supported are {', '.join(meanings)}")
        return meanings[value]


class Architecture:
    """The rule for one architecture; subclasses fill it."""

    model_type: str
    prefix: str

    def to_ours(self, raw: RawConfig) -> ModelConfig:
        raise NotImplementedError

    def from_ours(self, config: ModelConfig) -> dict[str, Any]:
        raise NotImplementedError

    def misfits(self, config: ModelConfig) -> list[str]:
        """Fields of `config` that this architecture cannot express."""
        raise NotImplementedError

    def ties(self, config: ModelConfig) -> Iterator[Tie]:
        raise NotImplementedError


class _GPT2(Architecture):
    model_type, prefix = "gpt2", "transformer."

    def to_ours(self, raw: RawConfig) -> ModelConfig:
        raw.must("scale_attn_weights", True)
        raw.must("scale_attn_by_inverse_layer_idx", False)
        raw.must("add_cross_attention", False)
        width = raw["n_embd"]
        return ModelConfig(
            vocab_size=raw["vocab_size"],
            context_length=raw["n_positions"],
            width=width,
            layers=raw["n_layer"],
            heads=raw["n_head"],
            expansion=(raw.get("n_inner") or 4 * width) / width,
            position="learned",
            normalization="layer",
            norm_affine=True,
            norm_eps=raw.get("layer_norm_epsilon", 1e-5),
            activation=raw.choice(
                "activation_function",
                {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"},
                "gelu_new",
            ),
            qk_norm=False,
            embedding_norm=False,
            bias=True,
            tied_head=raw.get("tie_word_embeddings", True),
            initialization="gpt2",
        )

    def from_ours(self, config: ModelConfig) -> dict[str, Any]:
        return {
            "vocab_size": config.vocab_size,
            "n_positions": config.context_length,
            "n_embd": config.width,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": config.feed_forward_width,
            "activation_function": {"gelu_tanh": "gelu_new", "gelu": "gelu"}[config.activation],
            "layer_norm_epsilon": config.norm_eps,
            "embd_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
            "resid_pdrop": config.dropout,
        }

    def misfits(self, config: ModelConfig) -> list[str]:
        fits = {
            "position": config.position == "learned",
            "normalization": config.normalization == "layer",
            "norm_affine": config.norm_affine,
            "activation": config.activation in ("gelu_tanh", "gelu"),
            "qk_norm": not config.qk_norm,
            "embedding_norm": not config.embedding_norm,
            "kv_heads": config.groups == config.heads,
            "head_width": config.width_per_head * config.heads == config.width,
            "logit_softcap": config.logit_softcap is None,
        }
        return [field for field, fit in fits.items() if not fit]

    def ties(self, config: ModelConfig) -> Iterator[Tie]:
        yield Tie("token_embedding.weight", ("transformer.wte.weight",))
        yield Tie("positions.weight", ("transformer.wpe.weight",))
        matrices = {
            "attention.qkv": "attn.c_attn",
            "attention.output": "attn.c_proj",
            "feed_forward.up": "mlp.c_fc",
            "feed_forward.down": "mlp.c_proj",
        }
        norms = {"attention_norm": "ln_1", "feed_forward_norm": "ln_2"}
        for layer in range(config.layers):
            for ours, theirs in (matrices | norms).items():
                for part in ("weight", "bias"):
                    names = f"blocks.{layer}.{ours}.{part}", f"transformer.h.{layer}.{theirs}.{part}"
                    yield Tie(names[0], (names[1],), transpose=part == "weight" and ours in matrices)
        yield Tie("final_norm.weight", ("transformer.ln_f.weight",))
        yield Tie("final_norm.bias", ("transformer.ln_f.bias",))
        if not config.tied_head:
            yield Tie("head.weight", ("lm_head.weight",))


class _Rotary(Architecture):
    """What Llama and its descendants share; a subclass is a row of differences."""

    prefix = "model."
    activation: Literal["swiglu", "relu2"] = "swiglu"
    hidden_act = "silu"
    norm_affine, qk_norm, embedding_norm = True, False, False
    qkv_bias: bool | None = None

    def to_ours(self, raw: RawConfig) -> ModelConfig:
        raw.must("hidden_act", self.hidden_act)
        raw.must("use_sliding_window", False)
        if any(kind != "full_attention" for kind in raw.get("layer_types") or ()):
            raise ValueError(
                f"{raw.folder}: layer_types is {raw['layer_types']}, and only full_attention is supported"
            )
        base = self._rotary_base(raw)
        bias = raw.get("attention_bias", False)
        if bias != raw.get("mlp_bias", False):
            raise ValueError(
                f"{raw.folder}: attention_bias and mlp_bias differ, and only both or none are supported"
            )
        width, heads = raw["hidden_size"], raw["num_attention_heads"]
        head_width, groups = raw.get("head_dim") or None, raw.get("num_key_value_heads") or heads
        return ModelConfig(
            vocab_size=raw["vocab_size"],
            context_length=raw["max_position_embeddings"],
            width=width,
            layers=raw["num_hidden_layers"],
            heads=heads,
            kv_heads=None if groups == heads else groups,
            head_width=None if head_width and head_width * heads == width else head_width,
            expansion=raw["intermediate_size"] / width,
            position="rotary",
            normalization="rms",
            norm_affine=self.norm_affine,
            norm_eps=raw.get("rms_norm_eps", 1e-6),
            activation=self.activation,
            qk_norm=self.qk_norm,
            embedding_norm=self.embedding_norm,
            bias=bias,
            qkv_bias=self.qkv_bias,
            tied_head=raw.get("tie_word_embeddings", False),
            logit_softcap=raw.get("final_logit_softcapping"),
            rotary_base=base,
            initialization="gpt2",
        )

    def _rotary_base(self, raw: RawConfig) -> float:
        rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise ValueError(f"{raw.folder}: rotary positions of type {kind!r} are not supported")
        if rope.get("partial_rotary_factor", raw.get("partial_rotary_factor", 1.0)) != 1.0:
            raise ValueError(f"{raw.folder}: rotary positions over a part of each head are not supported")
        return float(rope.get("rope_theta", raw.get("rope_theta", 10_000.0)))

    def from_ours(self, config: ModelConfig) -> dict[str, Any]:
        raw = {
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.context_length,
            "hidden_size": config.width,
            "intermediate_size": config.feed_forward_width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.groups,
            "head_dim": config.width_per_head,
            "hidden_act": self.hidden_act,
            "rms_norm_eps": config.norm_eps,
            "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
            "attention_dropout": config.dropout,
        }
        if config.bias:
            raw |= {"attention_bias": True, "mlp_bias": True}
        if self.model_type == "nanochat":
            raw["final_logit_softcapping"] = config.logit_softcap
        return raw

    def misfits(self, config: ModelConfig) -> list[str]:
        qkv_bias = config.bias if config.qkv_bias is None else config.qkv_bias
        fits = {
            "position": config.position == "rotary",
            "normalization": config.normalization == "rms",
            "norm_affine": config.norm_affine == self.norm_affine,
            "activation": config.activation == self.activation,
            "qk_norm": config.qk_norm == self.qk_norm,
            "embedding_norm": config.embedding_norm == self.embedding_norm,
            "bias": not config.bias or self.model_type == "llama",
            "qkv_bias": qkv_bias == (config.bias if self.qkv_bias is None else self.qkv_bias),
            "logit_softcap": config.logit_softcap is None or self.model_type == "nanochat",
        }
        return [field for field, fit in fits.items() if not fit]

    def ties(self, config: ModelConfig) -> Iterator[Tie]:
        yield Tie("token_embedding.weight", ("model.embed_tokens.weight",))
        qkv_bias = config.bias if config.qkv_bias is None else config.qkv_bias
        for layer in range(config.layers):
            ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
            qkv = tuple(f"{theirs}self_attn.{name}_proj." for name in "qkv")
            swap = (0, 1) if self.model_type == "nanochat" else ()
            for part, present in (("weight", True), ("bias", qkv_bias)):
                if present:
                    yield Tie(f"{ours}attention.qkv.{part}", tuple(name + part for name in qkv), swap=swap)
            for part in ("weight", "bias") if config.bias else ("weight",):
                yield Tie(f"{ours}attention.output.{part}", (f"{theirs}self_attn.o_proj.{part}",))
                for mine, name in self._feed_forward().items():
                    yield Tie(f"{ours}feed_forward.{mine}.{part}", (f"{theirs}mlp.{name}.{part}",))
            if self.norm_affine:
                yield Tie(f"{ours}attention_norm.weight", (f"{theirs}input_layernorm.weight",))
                yield Tie(f"{ours}feed_forward_norm.weight", (f"{theirs}post_attention_layernorm.weight",))
                if self.qk_norm:
                    yield Tie(f"{ours}attention.query_norm.weight", (f"{theirs}self_attn.q_norm.weight",))
                    yield Tie(f"{ours}attention.key_norm.weight", (f"{theirs}self_attn.k_norm.weight",))
        if self.norm_affine:
            yield Tie("final_norm.weight", ("model.norm.weight",))
        if not config.tied_head:
            yield Tie("head.weight", ("lm_head.weight",))

    def _feed_forward(self) -> dict[str, str]:
        if self.activation == "swiglu":
            return {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
        return {"up": "fc1", "down": "fc2"}


class _Llama(_Rotary):
    model_type = "llama"


class _Qwen2(_Rotary):
    model_type, qkv_bias = "qwen2", True


class _Qwen3(_Rotary):
    model_type, qk_norm = "qwen3", True


class _NanoChat(_Rotary):
    model_type, hidden_act = "nanochat", "relu2"
    activation = "relu2"
    norm_affine, qk_norm, embedding_norm = False, True, True


ARCHITECTURES: dict[str, Architecture] = {
    "GPT2LMHeadModel": _GPT2(),
    "LlamaForCausalLM": _Llama(),
    "NanoChatForCausalLM": _NanoChat(),
    "Qwen3ForCausalLM": _Qwen3(),
    "Qwen2ForCausalLM": _Qwen2(),
}
BY_TYPE = {architecture.model_type: architecture for architecture in ARCHITECTURES.values()}


def swap_halves(rows: Tensor, config: ModelConfig) -> Tensor:
    """Exchange the two halves of each head's rows: turns a rotation by -t into one by t; its own inverse."""
    half = config.width_per_head // 2
    return rows.reshape(-1, 2, half, *rows.shape[1:]).flip(1).reshape(rows.shape)
