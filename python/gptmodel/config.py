"""One configuration out of several places: preset < TOML file < environment < command line.

Each part of a configuration is a frozen pydantic model beside the code that it configures; this module only
composes them. A setting has one name, the same in TOML (in its table, or bare at the top), in the environment
(``GPTMODEL_`` and capitals) and on the command line (hyphens); a name therefore belongs to one table only.
Where each value came from is kept, and nothing unknown is let through: a mistyped key would otherwise train
for a night with the default.

Two settings are not values but shorthands: ``preset`` names the lowest layer, and ``depth`` derives the shape
of the model from one number. How long to train may be said as epochs, steps or tokens; whoever says it later
says it alone.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gptmodel import presets
from gptmodel.checkpoint import CheckpointConfig
from gptmodel.data import DataConfig
from gptmodel.errors import ConfigError, did_you_mean
from gptmodel.model import ModelConfig
from gptmodel.optim import OptimConfig
from gptmodel.schedule import ScheduleConfig
from gptmodel.train import TrainConfig

__all__ = ["SECTIONS", "Config", "Resolved", "compose", "dump_toml", "parse", "section_of"]

SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "optim": OptimConfig,
    "schedule": ScheduleConfig,
    "checkpoint": CheckpointConfig,
}
DEFAULT_PRESET = "tiny"
FINE_TUNING_RATE = 1e-4
PREFIX = "GPTMODEL_"
NOT_SETTINGS = frozenset({"GPTMODEL_CACHE", "GPTMODEL_DEBUG"})
LENGTHS = ("epochs", "max_steps", "max_tokens")

Layer = dict[str, dict[str, Any]]


class Config(BaseModel):
    """Everything that decides a run. ``model`` may lack ``vocab_size``: it is then the tokenizer's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = DEFAULT_PRESET
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

    def model_shape(self, vocab_size: int | None = None) -> ModelConfig:
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


@dataclass(frozen=True)
class Resolved:
    """A configuration and where each of its values came from (``{"train.seed": "--seed"}``; absent: the
    default).
    """

    config: Config
    origins: dict[str, str]

    def __str__(self) -> str:
        return dump_toml(self.config, self.origins)


def section_of(name: str) -> str | None:
    """The table that the setting ``name`` stands in."""
    return next((section for section, kind in SECTIONS.items() if name in kind.model_fields), None)


def compose(
    flags: Mapping[str, Any] | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
    base: Config | None = None,
    shape: ModelConfig | None = None,
) -> Resolved:
    """Resolve a configuration.

    ``flags`` are settings by bare name, from the command line or a program (``None`` means not given);
    ``file`` is TOML; ``environment`` is a mapping such as ``os.environ``. ``base`` takes the preset's place
    when a run is resumed, and ``shape`` that of the preset's model when weights are taken over.

    Raises ConfigError for an unknown name, with the near one, and for a value out of range, with its origin.

    >>> compose({"preset": "nano", "max_steps": 20}).config.train.max_steps
    20
    """
    given = {k.replace("-", "_"): v for k, v in (flags or {}).items() if v is not None}
    layers = [
        *([_file_layer(Path(file))] if file is not None else []),
        _environment_layer(environment or {}),
        {f"--{'no-' if v is False else ''}{k.replace('_', '-')}": (k, v) for k, v in given.items()},
    ]
    shorthands = {
        k: (v, origin) for layer in layers for origin, (k, v) in layer.items() if k in ("preset", "depth")
    }
    unnamed = base.preset if base else "modern" if "depth" in shorthands else DEFAULT_PRESET
    preset, preset_origin = shorthands.get("preset", (unnamed, "default"))
    if base is not None and preset != base.preset:
        raise ConfigError(
            f"the run was started with --preset {base.preset}, not {preset}: a run keeps its preset"
        )
    bottom = _preset_layer(str(preset)) if base is None else {}
    if "depth" in shorthands:
        bottom |= _depth_layer(*shorthands["depth"])

    tables: Layer = {section: {} for section in SECTIONS}
    origins = {"preset": preset_origin}
    if shape is not None:
        bottom |= {f"init-from: {k}": (k, v) for k, v in shape.model_dump().items() if k != "vocab_size"}
        bottom["init-from, to tune gently"] = ("learning_rate", FINE_TUNING_RATE)
    if base is not None:
        origins |= dict.fromkeys(base.flat(), "the run's config.toml")
        tables = {k: dict(v) for k, v in base.model_dump().items() if isinstance(v, dict)}
    for layer in (bottom, *layers):
        _lay(tables, origins, layer)
    return Resolved(_validate({"preset": preset, **tables}, origins), origins)


def _lay(tables: Layer, origins: dict[str, str], layer: Mapping[str, tuple[str, Any]]) -> None:
    """Put one layer over what is there."""
    names = [name for name, _ in layer.values()]
    if any(name in LENGTHS for name in names):
        for name in LENGTHS:
            tables["train"].pop(name, None)
            origins.pop(f"train.{name}", None)
    for origin, (name, value) in layer.items():
        if name in ("preset", "depth"):
            continue
        section = section_of(name)
        if section is None:
            known = [field for kind in SECTIONS.values() for field in kind.model_fields] + ["preset", "depth"]
            raise ConfigError(f"unknown setting {name!r} ({origin}){did_you_mean(name, known)}")
        tables[section][name] = value
        origins[f"{section}.{name}"] = origin.partition(": ")[0]


def _validate(tables: dict[str, Any], origins: Mapping[str, str]) -> Config:
    try:
        return Config(**tables)
    except ValidationError as error:
        raise ConfigError(_sentence(error, origins)) from None


def _sentence(error: ValidationError, origins: Mapping[str, str]) -> str:
    """The first complaint of pydantic as one line with the place of the bad value."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"][:2])
    origin = f" (from {origins[where]})" if where in origins else ""
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "value_error":
        return f"{where}: {message}" if len(first["loc"]) > 1 else message
    expected = f"should be {message}" if first["msg"].startswith("Input should be ") else message.lower()
    return f"{where.split('.')[-1]} = {first['input']!r}{origin}: {expected}"


def _preset_layer(name: str) -> dict[str, tuple[str, Any]]:
    try:
        tables = presets.preset(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    layer = _parse_tables(tables, f"preset {name}")
    # a preset's vocabulary is what to train when there is no tokenizer, not a bound on the tokenizers that
    # fit
    return {
        origin: ("vocab" if key == "vocab_size" else key, value) for origin, (key, value) in layer.items()
    }


def _file_layer(path: Path) -> dict[str, tuple[str, Any]]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from None
    return _parse_tables(tables, str(path))


def _parse_tables(tables: Mapping[str, Any], origin: str) -> dict[str, tuple[str, Any]]:
    """Settings of a TOML document by ``origin: key``; a table must be the one its settings belong to."""
    layer: dict[str, tuple[str, Any]] = {}
    for key, value in tables.items():
        if not isinstance(value, dict):
            layer[f"{origin}: {key}"] = (key.replace("-", "_"), value)
            continue
        if key not in SECTIONS:
            raise ConfigError(f"unknown table [{key}] in {origin}{did_you_mean(key, SECTIONS)}")
        for name, inner in value.items():
            name = name.replace("-", "_")
            if name not in SECTIONS[key].model_fields:
                near = did_you_mean(name, SECTIONS[key].model_fields)
                home = section_of(name)
                hint = f"; it belongs to [{home}]" if home else near
                raise ConfigError(f"unknown setting {name!r} in [{key}] of {origin}{hint}")
            layer[f"{origin}: {key}.{name}"] = (name, inner)
    return layer


def _environment_layer(environment: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    layer: dict[str, tuple[str, Any]] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        name = variable.removeprefix(PREFIX).lower()
        value: Any = environment[variable]
        if name in ("train_data", "eval_data"):
            value = tuple(value.split(os.pathsep))
        layer[variable] = (name, value)
    return layer


def _depth_layer(depth: Any, origin: str) -> dict[str, tuple[str, Any]]:
    """The one dial: the shape of the model from its number of layers."""
    try:
        derived = presets.modern(int(depth))
    except (TypeError, ValueError):
        raise ConfigError(
            f"depth = {depth!r} (from {origin}): should be a number of layers, 1 or more"
        ) from None
    return {f"derived from depth {depth}: {name}": (name, value) for name, value in derived.items()}


def parse(text: str, origin: str = "config.toml") -> Config:
    """The configuration that ``dump_toml`` wrote."""
    try:
        return Config(**tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin} is not TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_sentence(error, {})}") from None


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
    text = f"# {name}: left out" if value is None else f"{name} = {_toml(value)}"
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
