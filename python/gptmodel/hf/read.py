"""A folder in Hugging Face's form (`config.json` and safetensors), or a name on its hub, into our weights.

Which architectures, and how their tensors correspond to ours, is `gptmodel.hf.mapping`. Here folders are
found and read, and every tensor is accounted for. Tensors are read with safetensors only. Pickled weights
(`pytorch_model.bin`) are refused: opening one runs its code.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gptmodel.errors import ConfigError, did_you_mean
from gptmodel.hf.mapping import BY_TYPE, Architecture, RawConfig, State, swap_halves
from gptmodel.model import GPT, ModelConfig
from gptmodel.parse import parse_json

if TYPE_CHECKING:
    from gptbpe import Tokenizer


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
    config = _config(architecture, RawConfig(raw, folder))
    return config, _from_theirs(architecture, config, _read_tensors(folder), folder)


def _config(architecture: Architecture, raw: RawConfig) -> ModelConfig:
    """Our configuration of a `config.json`, whose values may be of any type. Raises ValueError."""
    try:
        return architecture.to_ours(raw)
    except ConfigError as error:
        raise ValueError(f"{raw.folder / 'config.json'}: {error}") from None
    except (TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{raw.folder / 'config.json'} has a value of a wrong type: {error}") from None


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder in Hugging Face's form, if it holds one."""
    from gptbpe import Tokenizer

    file = folder / "tokenizer.json"
    return Tokenizer.load(file) if file.is_file() else None


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
        parts = [swap_halves(t, config) if i in tie.swap else t for i, t in enumerate(parts)]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        tensor = tensor.t().contiguous() if tie.transpose else tensor
        if tuple(tensor.shape) != shapes[tie.ours]:
            raise ValueError(
                f"{folder}: {' + '.join(tie.theirs)} has the shape {tuple(tensor.shape)}, and "
                f"config.json asks for {shapes[tie.ours]}"
            )
        state[tie.ours] = tensor
    return state


_NO_WEIGHT = re.compile(r"attn\.(masked_)?bias$|rotary_emb\.inv_freq$")
"""Buffers that old versions of transformers saved: causal masks and rotary frequencies."""


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}: a folder in Hugging Face's form has one")
    try:
        value = parse_json(path.read_bytes())
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
        files = _files_of(index)
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


def _files_of(index: Path) -> list[str]:
    """The files that an index names, all of them beside it. Raises ValueError."""
    named = _read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise ValueError(f"{index} should say in weight_map which tensor is in which file")
    files = sorted(set(named.values()))
    for name in files:
        if Path(name).name != name:
            raise ValueError(f"{index} names {name!r}, and only files beside it are read")
    return files


def _folder(source: str | PathLike[str]) -> Path:
    """The folder itself, or the downloaded copy of a name on the hub.

    A path into a folder that is here, or into ``runs/``, is a mistyped path and no name on the hub.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ValueError(f"{folder} is a file: give the folder that holds config.json and model.safetensors")
    name = str(source)
    here = len(folder.parts) > 1 and (folder.parent.is_dir() or folder.parts[0] == "runs")
    if here or not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name):
        beside = [entry.name for entry in folder.parent.glob("*")] if folder.parent.is_dir() else []
        raise FileNotFoundError(f"no model folder at {folder}{did_you_mean(folder.name, beside)}")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = re.sub(r"\[Errno -?\d+\] ", "", str(error).strip().split("\n")[0]) or type(error).__name__
        raise FileNotFoundError(
            f"{name!r} is not a folder here, and could not be had from the Hugging Face hub "
            f"({reason}): download config.json, model.safetensors and tokenizer.json from "
            f"https://huggingface.co/{name} into a folder, and give that folder"
        ) from None
