"""Weights in Hugging Face's form, in and out: folders of `config.json` and safetensors, as `transformers`
keeps them.

Which architectures, and how their tensors correspond to ours, is `hf_architectures`. Here folders are found
and read, every tensor is accounted for, and weights are fitted to another vocabulary or context.

Tensors are read with safetensors only. Pickled weights (`pytorch_model.bin`) are refused: opening one runs
its code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gptmodel.hf_architectures import ARCHITECTURES, BY_TYPE, Architecture, RawConfig
from gptmodel.model import GPT, ModelConfig
from gptmodel.positions import FixedTable

if TYPE_CHECKING:
    from gptbpe import Tokenizer

State = dict[str, Tensor]


def load_model(path: str | PathLike[str], *, device: Any = None, dtype: torch.dtype | None = None) -> GPT:
    """A model in eval mode, from a run folder, one of its checkpoints, or a folder in Hugging Face's form."""
    config, state, _ = load_parts(path, tokenizer=False)
    return assemble(config, state).to(device=device, dtype=dtype).eval()


def load_parts(
    path: str | PathLike[str], *, tokenizer: bool = True
) -> tuple[ModelConfig, State, Tokenizer | None]:
    """Configuration, weights and, if wanted and there, the tokenizer of a folder that `load_model` reads."""
    folder = Path(path)
    if (folder / "config.json").is_file():
        config, state = read(folder)
        file = folder / "tokenizer.json"
        if not (tokenizer and file.is_file()):
            return config, state, None
        from gptbpe import Tokenizer

        return config, state, Tokenizer.load(file)
    from gptmodel import checkpoint

    saved = checkpoint.load(folder)
    return saved.model_config, saved.state_dict, saved.tokenizer


def assemble(config: ModelConfig, state: Mapping[str, Tensor]) -> GPT:
    """A model that holds these very tensors, without initializing or copying weights."""
    with torch.device("meta"):
        model = GPT(config, seed=None)
    model.load_state_dict(state, assign=True)
    for module in model.modules():
        if isinstance(module, FixedTable):
            module.reset(torch.device("cpu"))
    return model.requires_grad_(True)


def read(source: str | PathLike[str]) -> tuple[ModelConfig, State]:
    """The configuration and weights of a folder in Hugging Face's form, or of a name on its hub.

    Raises:
        FileNotFoundError: no such folder, and no such name or no network; or the folder lacks a file.
        ValueError: an architecture, option or tensor that this model does not have.

    Example:
        >>> config, state = read("gpt2/")  # doctest: +SKIP
        >>> model = assemble(config, state)  # doctest: +SKIP
    """
    folder = _folder(source)
    raw = _read_json(folder / "config.json")
    architecture = BY_TYPE.get(str(raw.get("model_type")))
    if architecture is None:
        raise ValueError(
            f"{folder} holds a model of type {raw.get('model_type')!r}: the types that can be read are "
            f"{', '.join(sorted(BY_TYPE))}"
        )
    config = architecture.to_ours(RawConfig(raw, folder))
    return config, _from_theirs(architecture, config, _read_tensors(folder), folder)


def adapt(
    config: ModelConfig,
    state: State,
    *,
    vocab_size: int | None = None,
    context_length: int | None = None,
    resize_vocab: bool = False,
) -> tuple[ModelConfig, State]:
    """The same weights for another vocabulary or context.

    A vocabulary of another size is refused unless `resize_vocab`; then rows are cut off, or new rows start
    as the mean of the others. A shorter context keeps the first positions. A longer one is refused for
    learned positions, which have no weights for it.
    """
    if vocab_size is not None and vocab_size != config.vocab_size:
        if not resize_vocab:
            raise ValueError(
                f"the checkpoint knows {config.vocab_size} ids and the tokenizer has {vocab_size}: use the "
                "checkpoint's tokenizer, or pass --resize-vocab to cut or add rows"
            )
        state = {
            name: _resized(tensor, vocab_size)
            if name in ("token_embedding.weight", "head.weight")
            else tensor
            for name, tensor in state.items()
        }
        config = config.model_copy(update={"vocab_size": vocab_size})
    if context_length is not None and context_length != config.context_length:
        if config.position == "learned":
            if context_length > config.context_length:
                raise ValueError(
                    f"the checkpoint has learned positions for a context of {config.context_length}, and "
                    f"{context_length} were asked for: there are no weights for the others"
                )
            state = state | {"positions.weight": state["positions.weight"][:context_length].clone()}
        config = config.model_copy(update={"context_length": context_length})
    return config, state


def _resized(tensor_VD: Tensor, vocab_size: int) -> Tensor:
    missing = vocab_size - len(tensor_VD)
    if missing <= 0:
        return tensor_VD[:vocab_size].clone()
    mean_1D = tensor_VD.float().mean(0, keepdim=True).to(tensor_VD)
    return torch.cat((tensor_VD, mean_1D.expand(missing, -1)))


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


def _from_theirs(architecture: Architecture, config: ModelConfig, tensors: State, folder: Path) -> State:
    """Our state dict of their tensors; every tensor is used, or known to be no weight."""
    prefix = architecture.prefix
    if not any(name.startswith(prefix) for name in tensors):  # saved from the bare model, without a head
        tensors = {name if name == "lm_head.weight" else prefix + name: t for name, t in tensors.items()}
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in GPT(config, seed=None).named_parameters()}
    ties = list(architecture.ties(config))
    missing = [name for tie in ties for name in tie.theirs if name not in tensors]
    if missing:
        raise ValueError(f"{folder} lacks {_some(missing)}")
    surplus = tensors.keys() - {name for tie in ties for name in tie.theirs}
    surplus = {name for name in surplus if not _NO_WEIGHT.search(name)} - {"lm_head.weight"}
    if surplus:
        raise ValueError(f"{folder} holds tensors that this model has no place for: {_some(sorted(surplus))}")
    state: State = {}
    for tie in ties:
        parts = [tensors[name] for name in tie.theirs]
        parts = [_swap_halves(t, config) if i in tie.swap else t for i, t in enumerate(parts)]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        tensor = tensor.t().contiguous() if tie.transpose else tensor
        if tuple(tensor.shape) != shapes[tie.ours]:
            raise ValueError(
                f"{folder}: {' + '.join(tie.theirs)} has the shape {tuple(tensor.shape)}, and "
                f"config.json asks for {shapes[tie.ours]}"
            )
        state[tie.ours] = tensor
    return state


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
            tensors[name] = (_swap_halves(part, config) if index in tie.swap else part).contiguous().clone()
    return tensors


def _swap_halves(rows: Tensor, config: ModelConfig) -> Tensor:
    """Exchange the two halves of each head's rows: turns a rotation by -t into one by t; its own inverse."""
    half = config.width_per_head // 2
    return rows.reshape(-1, 2, half, *rows.shape[1:]).flip(1).reshape(rows.shape)


_PRESET = {
    "GPT2LMHeadModel": "gpt2",
    "LlamaForCausalLM": "llama",
    "NanoChatForCausalLM": "modern",
    "Qwen3ForCausalLM": "llama",
    "Qwen2ForCausalLM": "llama",
}
_NO_WEIGHT = re.compile(r"attn\.(masked_)?bias$|rotary_emb\.inv_freq$")
"""Buffers that old versions of transformers saved: causal masks and rotary frequencies."""


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}: a folder in Hugging Face's form has one")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} should hold an object, and holds a {type(value).__name__}")
    return value


def _read_tensors(folder: Path) -> State:
    """All tensors of `model.safetensors`, or of the files that its index names."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        files = ["model.safetensors"]
    elif index.is_file():
        files = sorted(set(_read_json(index).get("weight_map", {}).values()))
    elif (folder / "pytorch_model.bin").exists():
        raise ValueError(
            f"{folder} has its weights as a pickle, which can run code when it is opened: save it "
            "once more with transformers (model.save_pretrained writes safetensors) and take that folder"
        )
    else:
        raise FileNotFoundError(f"{folder} has neither model.safetensors nor model.safetensors.index.json")
    tensors: State = {}
    for name in files:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{index} names {name}, which is not there: the download is not complete")
        try:
            tensors |= load_file(folder / name)
        except SafetensorError as error:
            raise ValueError(f"{folder / name} is damaged or not complete: {error}") from None
    return tensors


def _folder(source: str | PathLike[str]) -> Path:
    """The folder itself, or the downloaded copy of a name on the hub."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ValueError(f"{folder} is a file: give the folder that holds config.json and model.safetensors")
    name = str(source)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name):
        raise FileNotFoundError(f"no model folder at {folder}")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise FileNotFoundError(
            f"{name!r} is no folder here, and could not be had from the Hugging Face hub "
            f"({reason}): download config.json, model.safetensors and tokenizer.json from "
            f"https://huggingface.co/{name} into a folder, and give that folder"
        ) from None
