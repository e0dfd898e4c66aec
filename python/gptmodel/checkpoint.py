"""Checkpoints: folders that are whole or absent, and that say so themselves.

``checkpoints/step-00000200/`` holds ``model.safetensors``, ``optimizer.safetensors`` (moments, and the random
states as bytes), ``config.toml``, ``tokenizer.json`` and ``state.json``, which names the size and sha256 of
each of the others and carries a digest of itself. A folder is written under another name, every file is
flushed to the disk, and only then is it renamed; so a name that exists is complete unless the disk lost bits,
and those show when it is read. What is newest and what is best is derived from the complete folders, never
from a pointer. Nothing here can unpickle.

Invariants: a failed save leaves every earlier checkpoint as it was; an old one is removed only after the new
one has been read back; one that an epoch's name links to is never removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gptmodel.errors import CheckpointError

if TYPE_CHECKING:
    from gptbpe import Tokenizer
    from gptmodel.config import Config
    from gptmodel.model import ModelConfig

__all__ = [
    "Checkpoint",
    "CheckpointConfig",
    "Loaded",
    "best",
    "complete",
    "find",
    "latest",
    "load",
    "load_tokenizer",
    "prune",
    "read",
    "save",
    "verify",
]

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
CONFIG = "config.toml"
TOKENIZER = "tokenizer.json"
FORMAT = 1


class CheckpointConfig(BaseModel):
    """When to save, and how many to keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    save_every: int | None = Field(None, gt=0, description="save every N steps; left out: a tenth of the run")
    save_every_epochs: int | None = Field(
        None, gt=0, description="also save every N epochs, linked as <experiment>_e<epoch> and kept for good"
    )
    keep: int = Field(2, ge=1, description="checkpoints to keep beside the best one and those of epochs")


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose ``state.json`` has been read and found sound."""

    path: Path
    state: dict[str, Any] = field(repr=False)

    @property
    def step(self) -> int:
        return int(self.state["step"])

    @property
    def evaluation_loss(self) -> float | None:
        return self.state.get("evaluation_loss")

    def config(self) -> Config:
        """The resolved configuration of the run."""
        from gptmodel.config import parse  # config composes this module's own settings

        return parse((self.path / CONFIG).read_text(encoding="utf-8"), str(self.path / CONFIG))

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer stored with the model, if one was."""
        file = self.path / TOKENIZER
        if not file.exists():
            return None
        from gptbpe import Tokenizer

        return Tokenizer.load(file)

    def model_tensors(self) -> dict[str, Tensor]:
        return _read_tensors(self.path / MODEL)

    def optimizer_tensors(self) -> dict[str, Tensor]:
        return _read_tensors(self.path / OPTIMIZER)


def save(
    run: Path,
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    config: str,
    tokenizer: Tokenizer | None,
    link: str | None = None,
) -> Path:
    """Write ``checkpoints/step-…`` of ``run`` and return it; ``link`` is one more name for it.

    A checkpoint of the same step that is sound is left as it is. Raises CheckpointError when the disk
    refuses: nothing has changed then.
    """
    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        if not _is_sound(final):
            temporary.mkdir()
            _write_files(temporary, step, model, optimizer, state, config, tokenizer)
            verify(temporary)
            shutil.rmtree(final, ignore_errors=True)  # only ever a damaged one
            temporary.rename(final)
            _sync(folder)
        if link is not None:
            _link(folder / link, final.name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"could not save step {step} to {folder}: {error}; earlier checkpoints are as they were"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _write_files(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    config: str,
    tokenizer: Tokenizer | None,
) -> None:
    save_file({name: t.detach().contiguous().cpu() for name, t in model.state_dict().items()}, folder / MODEL)
    save_file(optimizer_tensors(model, optimizer) | random_tensors(), folder / OPTIMIZER)
    (folder / CONFIG).write_text(config, encoding="utf-8")
    if tokenizer is not None:
        tokenizer.save(folder / TOKENIZER)
    files = {path.name: _fingerprint(path) for path in sorted(folder.iterdir())}
    content = {"format": FORMAT, "step": step, **state, "files": files}
    content["digest"] = _digest(content)
    (folder / STATE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~umask)  # safetensors leaves files that only their owner can read
        _sync(path)
    _sync(folder)


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint folder at ``path``, its ``state.json`` checked. Raises CheckpointError."""
    folder = Path(path)
    try:
        state = json.loads((folder / STATE).read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no checkpoint: it has no {STATE}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / STATE} is damaged: {error}") from None
    if not isinstance(state, dict) or not isinstance(state.get("files"), dict) or "step" not in state:
        raise CheckpointError(f"{folder / STATE} is not a checkpoint's state")
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{folder} has format {state.get('format')}, this version reads {FORMAT}")
    if state.get("digest") != _digest(state):
        raise CheckpointError(f"{folder / STATE} is damaged: it does not match its digest")
    return Checkpoint(folder, state)


def verify(path: str | os.PathLike[str]) -> Checkpoint:
    """Read every byte of a checkpoint and compare it with its digests. Raises CheckpointError."""
    checkpoint = read(path)
    for name, expected in checkpoint.state["files"].items():
        file = checkpoint.path / name
        if not file.is_file():
            raise CheckpointError(f"{checkpoint.path} is incomplete: {name} is missing")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(
                f"{file} has {size:,} bytes, {expected['bytes']:,} were written: it is damaged"
            )
        if _fingerprint(file) != expected:
            raise CheckpointError(f"{file} is damaged: its sha256 is not the one it was written with")
    return checkpoint


def complete(run: str | os.PathLike[str]) -> Iterator[Checkpoint]:
    """The checkpoints of a run whose ``state.json`` is sound, newest first."""
    for folder in sorted((Path(run) / "checkpoints").glob("step-*"), reverse=True):
        try:
            yield read(folder)
        except CheckpointError:
            continue


def latest(run: str | os.PathLike[str], skipped: list[str] | None = None) -> Checkpoint:
    """The newest checkpoint of a run whose every byte is right.

    Reasons for passing newer ones over are appended to ``skipped``. Raises CheckpointError when none is left.
    """
    reasons = skipped if skipped is not None else []
    for folder in sorted((Path(run) / "checkpoints").glob("step-*"), reverse=True):
        try:
            return verify(folder)
        except CheckpointError as error:
            reasons.append(str(error))
    raise CheckpointError(reasons[0] if reasons else f"{run} has no checkpoint yet")


def best(run: str | os.PathLike[str]) -> Checkpoint | None:
    """The checkpoint with the lowest held-out loss; None where none was evaluated."""
    scored = [c for c in complete(run) if c.evaluation_loss is not None]
    return min(scored, key=lambda c: (c.evaluation_loss, -c.step), default=None)


def find(path: str | os.PathLike[str]) -> Checkpoint:
    """What ``path`` means: a checkpoint, a run (its newest sound checkpoint), RUN/best or RUN/latest."""
    folder = Path(path)
    if folder.name in ("best", "latest") and not folder.exists():
        found = best(folder.parent) if folder.name == "best" else latest(folder.parent)
        if found is None:
            raise CheckpointError(
                f"no checkpoint of {folder.parent} was evaluated: use {folder.parent / 'latest'}"
            )
        return verify(found.path)
    if not folder.exists():
        raise CheckpointError(f"no run or checkpoint at {folder}")
    if (folder / STATE).exists() or folder.name.startswith("step-"):
        return verify(folder)
    if (folder / "checkpoints").is_dir():
        return latest(folder)
    raise CheckpointError(f"{folder} is neither a run (no checkpoints/) nor a checkpoint (no {STATE})")


@dataclass(frozen=True)
class Loaded:
    """What it takes to use a model: its shape, its weights, and its tokenizer where one was stored."""

    model_config: ModelConfig
    state_dict: dict[str, Tensor] = field(repr=False)
    tokenizer: Tokenizer | None
    path: Path


def load(path: str | os.PathLike[str]) -> Loaded:
    """The model of a run or checkpoint folder, every byte checked. Raises CheckpointError.

    ``GPT.load`` makes a model of it.

    >>> load("runs/tiny").model_config.context_length  # doctest: +SKIP
    128
    """
    checkpoint = find(path)
    return Loaded(
        checkpoint.config().model_shape(),
        checkpoint.model_tensors(),
        checkpoint.tokenizer(),
        checkpoint.path,
    )


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer that a run was trained with. Raises CheckpointError where none was stored."""
    checkpoint = find(path)
    tokenizer = checkpoint.tokenizer()
    if tokenizer is None:
        raise CheckpointError(
            f"{checkpoint.path} has no {TOKENIZER}: its shards carried none; give --tokenizer"
        )
    return tokenizer


def prune(run: Path, keep: int) -> None:
    """Remove the oldest checkpoints, all but ``keep``, the best one, and those that another name links to."""
    folder = run / "checkpoints"
    linked = {entry.resolve() for entry in folder.iterdir() if entry.is_symlink()}
    favourite = best(run)
    found = list(complete(run))
    for checkpoint in found[keep:]:
        if checkpoint.path.resolve() in linked or (favourite and checkpoint.path == favourite.path):
            continue
        # a folder half removed must not look like a checkpoint
        doomed = folder / f".{checkpoint.path.name}.old-{uuid.uuid4().hex[:8]}"
        checkpoint.path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def sweep(run: Path) -> None:
    """Remove what a killed process left half written."""
    for entry in (run / "checkpoints").glob(".step-*"):
        shutil.rmtree(entry, ignore_errors=True)


# --- tensors in and out ---


def restore_model(model: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Fill ``model``. Raises CheckpointError naming what is missing, surplus or of another shape."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{origin} holds another model: {' '.join(str(error).split())[:300]}") from None


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter name: ``exp_avg.blocks.0…``."""
    return {
        f"{key}.{name}": value.detach().contiguous().cpu()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Fill the optimizer's state; the step counters go where the optimizer keeps them (the device when fused
    on CUDA).
    """
    for name, parameter in model.named_parameters():
        state = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if f"{key}.{name}" in tensors:
                state[key] = tensors[f"{key}.{name}"].to(parameter.device)
        if state:
            optimizer.state[parameter] = state


def random_tensors() -> dict[str, Tensor]:
    """The state of torch's generators as bytes."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state().cpu()
    return states


def restore_random(tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


# --- files ---


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _digest(state: Mapping[str, Any]) -> str:
    rest = {k: v for k, v in state.items() if k != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _is_sound(path: Path) -> bool:
    try:
        verify(path)
    except CheckpointError:
        return False
    return True


def _link(link: Path, target: str) -> None:
    temporary = link.with_name(f".{link.name}.tmp-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    _sync(link.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
