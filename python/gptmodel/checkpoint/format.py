"""One checkpoint: a folder that is whole or absent, and that says so itself.

``checkpoints/step-00000200/`` holds

====================== =====================================================================================
model.safetensors      the weights
model.json             the architecture alone: what it takes to use the weights, and nothing of training
optimizer.safetensors  the optimizer's state by parameter (``exp_avg.blocks.0…``) and the random states
config.toml            the resolved configuration of the run, to resume it
tokenizer.json         the tokenizer, where the shards carried one
state.json             step, tokens, held-out loss; size and sha256 of each other file; a digest of itself
====================== =====================================================================================

A folder is written under another name, every file is flushed to the disk, and only then is it renamed; so a
name that exists is complete unless the disk lost bits, and those show when it is read. Only ``state.json`` is
ever replaced afterwards, at once, to add the held-out loss of these weights. Nothing here can unpickle.

Format 1 had no ``model.json``: the architecture was read out of ``config.toml``, and still is for those.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gptmodel import files
from gptmodel.errors import CheckpointError
from gptmodel.model import ModelConfig
from gptmodel.parse import complaint, parse_json, parse_toml

if TYPE_CHECKING:
    from gptbpe import Tokenizer

__all__ = ["Checkpoint", "Snapshot", "check_same", "read", "record_evaluation", "verify", "write"]

MODEL = "model.safetensors"
MODEL_CONFIG = "model.json"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
CONFIG = "config.toml"
TOKENIZER = "tokenizer.json"
FORMAT = 2
READABLE = (1, 2)


class _File(BaseModel):
    """What ``state.json`` says of another file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    bytes: int = Field(ge=0)
    sha256: str


class _State(BaseModel):
    """What ``state.json`` must hold for the rest of the program to rely on it; it may hold more."""

    model_config = ConfigDict(strict=True, extra="allow")

    format: int
    step: int = Field(ge=0, le=10**12)
    files: dict[str, _File]
    digest: str
    evaluation_loss: float | None = None
    seconds: float = Field(0.0, ge=0)
    total_steps: int | None = Field(None, gt=0, le=10**12)
    precision: str | None = None
    scaler: dict[str, float] = {}


@dataclass(frozen=True)
class Snapshot:
    """All that a checkpoint will hold, in memory of its own: training may go on while it is written.

    ``link`` is one more name for the checkpoint, which then is kept for good.
    """

    step: int
    model: dict[str, Tensor] = field(repr=False)
    optimizer: dict[str, Tensor] = field(repr=False)
    model_config: ModelConfig
    config: str = field(repr=False)
    state: Mapping[str, Any]
    tokenizer: Tokenizer | None = None
    link: str | None = None


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
        """The held-out loss of these very weights; None where they were not evaluated."""
        loss = self.state.get("evaluation_loss")
        return None if loss is None else float(loss)

    def model_config(self) -> ModelConfig:
        """The architecture. Raises CheckpointError when the file is damaged."""
        try:
            if self.state["format"] == 1:
                return ModelConfig(**parse_toml(self.text(CONFIG))["model"])
            return ModelConfig(**parse_json(self.text(MODEL_CONFIG)))
        except CheckpointError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.path} describes a model that this version does not have: {error}"
            ) from None

    def text(self, name: str) -> str:
        """A file of text, checked against its digest. Raises CheckpointError."""
        _verify_file(self.path / name, self.state["files"].get(name))
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{self.path / name} is no text: {error}") from None

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer stored with the model, if one was."""
        file = self.path / TOKENIZER
        if not file.exists():
            return None
        from gptbpe import Tokenizer

        return Tokenizer.load(file)

    def require_tokenizer(self) -> Tokenizer:
        """The tokenizer stored with the model. Raises CheckpointError where none was."""
        tokenizer = self.tokenizer()
        if tokenizer is None:
            raise CheckpointError(
                f"{self.path} has no {TOKENIZER}: its shards carried none; give --tokenizer"
            )
        return tokenizer

    def model_tensors(self) -> dict[str, Tensor]:
        return _read_tensors(self.path / MODEL)

    def optimizer_tensors(self) -> dict[str, Tensor]:
        return _read_tensors(self.path / OPTIMIZER)


def write(folder: Path, snapshot: Snapshot) -> None:
    """Fill the empty ``folder`` and flush every file. Raises OSError and SafetensorError."""
    save_file(snapshot.model, folder / MODEL)
    save_file(snapshot.optimizer, folder / OPTIMIZER)
    (folder / MODEL_CONFIG).write_text(
        snapshot.model_config.model_dump_json(indent=1) + "\n", encoding="utf-8"
    )
    (folder / CONFIG).write_text(snapshot.config, encoding="utf-8")
    if snapshot.tokenizer is not None:
        snapshot.tokenizer.save(folder / TOKENIZER)
    for path in folder.iterdir():
        files.usual_mode(path)
        files.flush(path)
    written = {path.name: _fingerprint(path) for path in sorted(folder.iterdir())}
    _write_state(folder, {"format": FORMAT, "step": snapshot.step, **snapshot.state, "files": written})


def record_evaluation(checkpoint: Checkpoint, loss: float) -> Checkpoint:
    """Note in a whole checkpoint the held-out loss that its weights have.

    Raises CheckpointError when the disk refuses: the checkpoint is as it was then.
    """
    state = checkpoint.state | {"evaluation_loss": loss}
    try:
        _write_state(checkpoint.path, state)
    except OSError as error:
        raise CheckpointError(
            f"could not note the held-out loss in {checkpoint.path}: {error.strerror or error}; "
            "its weights are saved"
        ) from error
    return Checkpoint(checkpoint.path, state)


def _write_state(folder: Path, state: dict[str, Any]) -> None:
    state["digest"] = _digest(state)
    files.write_text(folder / STATE, json.dumps(state, indent=1) + "\n")


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint folder at ``path``, its ``state.json`` checked. Raises CheckpointError."""
    folder = Path(path)
    try:
        state = parse_json((folder / STATE).read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no checkpoint: it has no {STATE}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / STATE} is damaged: {error}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{folder / STATE} is not a checkpoint's state")
    known = isinstance(state.get("format"), int) and state["format"] in READABLE
    if "files" in state and not known:
        raise CheckpointError(f"{folder} has format {state.get('format')}, this version reads up to {FORMAT}")
    try:
        _State(**state)
    except ValidationError as error:
        raise CheckpointError(f"{folder / STATE} is not a checkpoint's state: {complaint(error)}") from None
    for name in state["files"]:
        if Path(name).name != name:
            raise CheckpointError(f"{folder / STATE} names {name!r}, which is outside of the checkpoint")
    if state["digest"] != _digest(state):
        raise CheckpointError(f"{folder / STATE} is damaged: it does not match its digest")
    return Checkpoint(folder, state)


def verify(path: str | os.PathLike[str]) -> Checkpoint:
    """Read every byte of a checkpoint and compare it with its digests. Raises CheckpointError."""
    checkpoint = read(path)
    for name, expected in checkpoint.state["files"].items():
        _verify_file(checkpoint.path / name, expected)
    return checkpoint


def check_same(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    origin: str,
    what: str,
    *,
    any_precision: bool = False,
) -> None:
    """Raise CheckpointError, naming what is missing, surplus, or of another shape or dtype.

    ``any_precision`` takes any dtype of floating point for any other.
    """
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        wanted, had = expected[name], found[name]
        alike = any_precision and wanted.is_floating_point() and had.is_floating_point()
        if wanted.shape != had.shape or not (alike or wanted.dtype == had.dtype):
            problems.append(f"{name} is {_describe(had)} where {_describe(wanted)} is expected")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{origin} holds another {what}: {'; '.join(sorted(problems)[:3])}{more}")


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _verify_file(file: Path, expected: Mapping[str, Any] | None) -> None:
    if expected is None or not file.is_file():
        raise CheckpointError(f"{file.parent} is incomplete: {file.name} is missing")
    size = file.stat().st_size
    if size != expected["bytes"]:
        raise CheckpointError(f"{file} has {size:,} bytes, {expected['bytes']:,} were written: it is damaged")
    if _fingerprint(file) != expected:
        raise CheckpointError(f"{file} is damaged: its sha256 is not the one it was written with")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _digest(state: Mapping[str, Any]) -> str:
    rest = {k: v for k, v in state.items() if k != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
