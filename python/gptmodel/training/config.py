"""All settings of a run: one frozen pydantic model for each room, composed once, and the same as TOML.

Each part is defined beside the code that it configures. How presets, files, environment and command line
become one `Config` is `gptmodel.config`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gptmodel.checkpoint import runs
from gptmodel.checkpoint.config import CheckpointConfig
from gptmodel.data.config import DataConfig
from gptmodel.errors import ConfigError
from gptmodel.model.config import ModelConfig
from gptmodel.parse import complaint, parse_toml
from gptmodel.training.optim.config import OptimConfig
from gptmodel.training.schedule import ScheduleConfig

__all__ = ["SECTIONS", "Config", "TrainConfig", "dump_toml", "parse"]


EVALUATED_BATCHES = 20
"""Batches of each evaluation in a long run."""
EVALUATION_DISTANCE = 12
"""The fewest steps from one evaluation and sample to the next, unless they are asked for more often."""


class TrainConfig(BaseModel):
    """How long, how much at once, on what, and what is shown meanwhile."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    experiment_name: str | None = Field(
        None, description="name of the run's folder [default: the preset's name]"
    )
    output: Path = Field(Path("runs"), description="folder that the runs are in")
    epochs: float | None = Field(None, gt=0, le=1e9, description="train for this many passes over the data")
    max_steps: int | None = Field(None, gt=0, le=10**12, description="train for this many steps")
    max_tokens: int | None = Field(None, gt=0, le=10**18, description="train for this many tokens")
    batch_size: int = Field(16, gt=0, le=2**24, description="windows in a step")
    micro_batch_size: Annotated[int, Field(gt=0, le=2**24)] | Literal["auto"] | None = Field(
        None,
        description="windows that are computed at once: fewer need less memory, with the same result; auto: "
        "as many as fit [default: the whole batch]",
    )
    activation_checkpointing: bool = Field(
        False, description="recompute blocks in the backward pass: less memory, a third more time"
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="seed of the weights, the order of the data, dropout and samples"
    )
    device: str = Field("auto", description="where to compute: auto, cpu, cuda, cuda:1, mps")
    threads: int | None = Field(
        None, gt=0, le=1024, description="number of threads on a CPU [default: one per core]"
    )
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = Field(
        "auto", description="number format of the activations; the weights are always fp32"
    )
    cpu_products: Literal["auto", "mkl", "onednn", "amx"] = Field(
        "auto",
        description="library that multiplies fp32 matrices on a CPU; auto: AMX in a compiled model, oneDNN "
        "where it is faster, and either only if as exact as MKL",
    )
    compile: bool | None = Field(
        None, description="compile the model [default: on CUDA, and on a CPU in runs of ten minutes or more]"
    )
    cuda_graph: bool = Field(
        False,
        description="on CUDA, launch each step as one graph: for small models, whose kernels take longer to "
        "launch than to run; how much faster that is was not measured yet",
    )
    log_every: int | None = Field(None, gt=0, description="log every N steps [default: 1, on CUDA 10]")
    eval_every: int | None = Field(
        None,
        gt=0,
        description="evaluate on held-out text every N steps [default: a tenth of the run, at least 12]",
    )
    eval_batches: int | None = Field(
        None,
        gt=0,
        le=2**40,
        description="batches in each evaluation [default: 20; fewer in runs of less than 900 steps]",
    )
    sample_every: int | None = Field(
        None,
        gt=0,
        description="write a sample every N steps [default: as often as held-out text is evaluated]",
    )
    sample_prompt: str = Field(
        "", description="beginning of the samples [default: the first words of held-out text]"
    )
    sample_tokens: int = Field(96, ge=0, le=2**20, description="tokens in a sample; 0 for no samples")
    wandb: str | None = Field(
        None, description="also log to this Weights & Biases project (pip install 'gptbpe[wandb]')"
    )
    init_from: str | None = Field(
        None, description="start from the weights of a run, a checkpoint or a Hugging Face folder"
    )
    resize_vocab: bool = Field(
        False, description="allow a vocabulary and a context length that differ from those of init-from"
    )
    shard_model: bool = Field(
        False,
        description="with torchrun: divide weights, gradients and optimizer state among the processes "
        "(FSDP2), for models that do not fit on one card",
    )
    freeze_layers: int = Field(0, ge=0, description="do not train the embeddings and the first N blocks")

    @field_validator("experiment_name", mode="after")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        return value if value is None else runs.check_name(value)

    def evaluated_batches(self, total_steps: int) -> int:
        """How many batches each evaluation of a run of ``total_steps`` has.

        An evaluated batch takes 0.4 of the time of a step of the preset tiny, and a sample 0.7. Ten
        evaluations, and the samples that are written with them, take a tenth of a run with these numbers.
        """
        return self.eval_batches or max(1, min(EVALUATED_BATCHES, total_steps // 40 - 2))

    def evaluation_distance(self, total_steps: int) -> int:
        """Every how many steps held-out text is evaluated, and also at the last.

        Left out, it is a multiple of a tenth of the run, so that an evaluated model is one that is saved.
        """
        tenth = max(1, total_steps // 10)
        return self.eval_every or tenth * math.ceil(EVALUATION_DISTANCE / tenth)

    def sample_distance(self, total_steps: int) -> int:
        """Every how many steps a sample is written, and also at the last."""
        return self.sample_every or self.evaluation_distance(total_steps)

    def rows_at_once(self, rows: int) -> int:
        """How many of ``rows`` windows are on the device at once."""
        return min(self.micro_batch_size, rows) if isinstance(self.micro_batch_size, int) else rows


SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "optim": OptimConfig,
    "schedule": ScheduleConfig,
    "checkpoint": CheckpointConfig,
}


class Config(BaseModel):
    """Everything that decides a run. ``model`` may lack ``vocab_size``: it is then the tokenizer's."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    preset: str
    model: dict[str, Any]
    train: TrainConfig = Field(default_factory=TrainConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    optim: OptimConfig = Field(default_factory=OptimConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)

    @field_validator("model", mode="after")
    @classmethod
    def _complete(cls, value: dict[str, Any]) -> dict[str, Any]:
        whole = ModelConfig(**{"vocab_size": 256, **value}).model_dump()
        return whole if "vocab_size" in value else {k: v for k, v in whole.items() if k != "vocab_size"}

    def build_model_config(self, vocab_size: int | None = None) -> ModelConfig:
        """The model's configuration, with ``vocab_size`` where the configuration leaves it open."""
        return ModelConfig(**{"vocab_size": vocab_size, **self.model})

    def with_model(self, **changes: Any) -> Config:
        """The same configuration with another model."""
        return self.model_copy(update={"model": {**self.model, **changes}})

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted name, as plain JSON values: ``{"train.seed": 0, …}``."""
        dumped = self.model_dump(mode="json")
        tables = {k: v for k, v in dumped.items() if isinstance(v, dict)}
        return {"preset": self.preset} | {
            f"{t}.{k}": v for t, table in tables.items() for k, v in table.items()
        }


def parse(text: str, origin: str = "config.toml") -> Config:
    """The configuration that ``dump_toml`` wrote."""
    try:
        return Config(**parse_toml(text))
    except ValidationError as error:
        raise ConfigError(f"{origin}: {complaint(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{origin} is not TOML: {error}") from None


def dump_toml(config: Config, origins: Mapping[str, str] | None = None) -> str:
    """The configuration as TOML, which ``parse`` reads; ``origins`` become comments."""
    return "\n".join(_lines(config, origins)) + "\n"


def _lines(config: Config, origins: Mapping[str, str] | None) -> Iterator[str]:
    dumped = config.model_dump(mode="json")
    yield _line("preset", config.preset, "preset", origins)
    for section in SECTIONS:
        yield ""
        yield f"[{section}]"
        for name, value in dumped[section].items():
            yield _line(name, value, f"{section}.{name}", origins)
        if section == "model" and "vocab_size" not in dumped["model"]:
            yield "# vocab_size: the tokenizer's"


def _line(name: str, value: Any, key: str, origins: Mapping[str, str] | None) -> str:
    text = f"# {name}: not set" if value is None else f"{name} = {_toml(value)}"
    if origins is None:
        return text
    return f"{text:<44} # {origins.get(key, 'default')}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
