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

import json
import os
import shutil
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from gptmodel import hf
from gptmodel.model import GPT, ModelConfig

Format = Literal["hf", "pth", "safetensors"]
END_OF_TEXT = "<|endoftext|>"


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
        "hf": _write_hugging_face,
        "pth": _write_pth,
        "safetensors": _write_safetensors,
    }
    if format not in writers:
        raise ValueError(f"no export format is called {format!r}: there are {', '.join(writers)}")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} is there already: give another name, or ask to overwrite it")
    config, state, found = _parts(checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        writers[format](partial, config, state, tokenizer if tokenizer is not None else found)
        _publish(partial, out)
    finally:
        _remove(partial)
    return out


def _parts(checkpoint: GPT | str | PathLike[str]) -> tuple[ModelConfig, hf.State, Any]:
    if isinstance(checkpoint, GPT):
        config, state, tokenizer = checkpoint.config, checkpoint.state_dict(), None
    else:
        config, state, tokenizer = hf.load_parts(checkpoint)
    return config, {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, tokenizer


def _write_pth(path: Path, config: ModelConfig, state: hf.State, tokenizer: Any) -> None:
    torch.save(state, path)


def _write_safetensors(path: Path, config: ModelConfig, state: hf.State, tokenizer: Any) -> None:
    save_file(state, path, metadata={"format": "pt", "config": config.model_dump_json()})


def _write_hugging_face(folder: Path, config: ModelConfig, state: hf.State, tokenizer: Any) -> None:
    raw, tensors = hf.to_hugging_face(config, state)
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


def _publish(partial: Path, out: Path) -> None:
    """Flush `partial` to disk and give it the name `out`, in place of what had that name."""
    umask = os.umask(0)
    os.umask(umask)
    for path in (*(partial.iterdir() if partial.is_dir() else ()), partial):
        if path.is_file():
            path.chmod(0o666 & ~umask)  # safetensors leaves files that only their owner can read
        _flush(path)
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    if out.is_dir():  # a folder cannot be replaced in one step
        out.rename(old)
    partial.replace(out)
    _remove(old)
    _flush(out.parent)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot flush a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
