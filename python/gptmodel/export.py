"""A trained model in the forms that other programs read.

- ``hf``: a folder for `transformers` and whatever reads its folders (vLLM, llama.cpp's converter):
  `config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`, `generation_config.json`.
  `AutoModelForCausalLM` gives the same logits and `AutoTokenizer` the same ids.
- ``pth``: one state dict that `torch.load(path, weights_only=True)` opens, under our names.
- ``safetensors``: the same as one safetensors file, with the configuration as JSON in its metadata.

What is written appears under its name complete or not at all: it is made beside it, flushed to disk and
renamed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from gptmodel import files, hf
from gptmodel.load import load
from gptmodel.model import GPT, ModelConfig

Format = Literal["hf", "pth", "safetensors"]


def export(
    checkpoint: GPT | str | PathLike[str],
    out: str | PathLike[str],
    format: Format = "hf",
    *,
    tokenizer: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write `checkpoint` (a model, a run folder or one of its checkpoints) to `out`, and return that path.

    `tokenizer` (a `gptbpe.Tokenizer`) is taken from the checkpoint where it is not given.

    Raises:
        FileExistsError: `out` is there already and `overwrite` was not asked for. ValueError: an unknown
        format, or for ``hf`` a model that no architecture of `transformers` computes; the
            message names the fields.

    Example:
        >>> export("runs/shakespeare", "shakespeare-hf")  # doctest: +SKIP
        PosixPath('shakespeare-hf')
    """
    out = Path(out)
    writers: dict[str, Callable[[Path, ModelConfig, hf.State, Any], None]] = {
        "hf": hf.write_folder,
        "pth": _write_pth,
        "safetensors": _write_safetensors,
    }
    if format not in writers:
        raise ValueError(f"no export format is called {format!r}: there are {', '.join(writers)}")
    if out.is_dir() and (format != "hf" or {path.name for path in out.iterdir()} - hf.FILES):
        raise FileExistsError(
            f"{out} is there already and no exported model, or has other files in it: give another name"
            if format == "hf"
            else f"{out} is a folder: give the name of a file"
        )
    if out.exists() and not overwrite:
        raise FileExistsError(
            f"{out} is there already: give another name, or --force to replace it (in Python overwrite=True)"
        )
    config, state, found = _parts(checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        writers[format](partial, config, state, tokenizer if tokenizer is not None else found)
        files.replace(partial, out)
    finally:
        files.remove(partial)
    return out


def _parts(checkpoint: GPT | str | PathLike[str]) -> tuple[ModelConfig, hf.State, Any]:
    if isinstance(checkpoint, GPT):
        config, state, tokenizer = checkpoint.config, checkpoint.state_dict(), None
    else:
        found = load(checkpoint)
        config, state, tokenizer = found.model_config, found.state_dict, found.tokenizer
    return config, {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, tokenizer


def _write_pth(path: Path, config: ModelConfig, state: hf.State, tokenizer: Any) -> None:
    torch.save(state, path)


def _write_safetensors(path: Path, config: ModelConfig, state: hf.State, tokenizer: Any) -> None:
    save_file(state, path, metadata={"format": "pt", "config": config.model_dump_json()})
