"""A model as the folder that `transformers` opens, under the same mapping as reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from gptmodel.hf.mapping import ARCHITECTURES, Architecture, State, swap_halves
from gptmodel.model import ModelConfig

END_OF_TEXT = "<|endoftext|>"
FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
"""All that `write_folder` writes."""
_PRESET = {
    "GPT2LMHeadModel": "gpt2",
    "LlamaForCausalLM": "llama",
    "NanoChatForCausalLM": "modern",
    "Qwen3ForCausalLM": "llama",
    "Qwen2ForCausalLM": "llama",
}


def write_folder(folder: Path, config: ModelConfig, state: State, tokenizer: Any) -> None:
    """Make the folder that `transformers` opens: configuration, weights and tokenizer, if there is one."""
    raw, tensors = to_hugging_face(config, state)
    end = None if tokenizer is None else tokenizer.special_tokens.get(END_OF_TEXT)
    special: dict[str, int | None] = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": None}
    folder.mkdir()
    _write_json(folder / "config.json", raw | special)
    _write_json(folder / "generation_config.json", special)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if tokenizer is None:
        return
    tokenizer.save(folder / "tokenizer.json")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.context_length,
            "clean_up_tokenization_spaces": False,
        }
        | ({} if end is None else dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)),
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def to_hugging_face(config: ModelConfig, state: Mapping[str, Tensor]) -> tuple[dict[str, Any], State]:
    """`config.json` as a dict, and the tensors under their names there.

    Raises:
        ValueError: no architecture of `transformers` computes what this configuration does; names the
        fields that differ
            from the nearest one, and the presets that fit.
    """
    misfits = {name: architecture.misfits(config) for name, architecture in ARCHITECTURES.items()}
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    if misfits[nearest]:
        fields = ", ".join(f"{field} is {getattr(config, field)!r}" for field in misfits[nearest])
        raise ValueError(
            f"no architecture of transformers computes this model: the nearest is {nearest}, but here "
            f"{fields}; the preset {_PRESET[nearest]!r} would fit"
        )
    architecture = ARCHITECTURES[nearest]
    raw = {
        "architectures": [nearest],
        "model_type": architecture.model_type,
        **architecture.from_ours(config),
    }
    raw |= {"tie_word_embeddings": config.tied_head, "dtype": str(state["token_embedding.weight"].dtype)[6:]}
    return raw, _to_theirs(architecture, config, state)


def _to_theirs(architecture: Architecture, config: ModelConfig, state: Mapping[str, Tensor]) -> State:
    """Their tensors of our state dict. A bias that GPT-2 has and this model has not is written as zeros."""
    sizes = [heads * config.width_per_head for heads in (config.heads, config.groups, config.groups)]
    tensors: State = {}
    for tie in architecture.ties(config):
        tensor = state.get(tie.ours)
        if tensor is None:
            tensor = torch.zeros(len(state[tie.ours.removesuffix("bias") + "weight"])).to(
                state["token_embedding.weight"]
            )
        parts = torch.split(tensor, sizes) if len(tie.theirs) > 1 else (tensor,)
        for index, (name, part) in enumerate(zip(tie.theirs, parts, strict=True)):
            part = part.t() if tie.transpose else part
            tensors[name] = (swap_halves(part, config) if index in tie.swap else part).contiguous().clone()
    return tensors
