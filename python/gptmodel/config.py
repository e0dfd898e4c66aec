"""One configuration out of several places: preset < TOML file < environment < command line.

Each part of a configuration is a frozen pydantic model beside the code that it configures
(`gptmodel.training.config` composes them); this module says where their values come from. A setting has one
name, the same in TOML (in its table, or bare at the top), in the environment (``GPTMODEL_`` and capitals) and
on the command line (hyphens); a name therefore belongs to one table only. Where each value came from is kept,
and nothing unknown is let through: a mistyped key would otherwise train for a night with the default.

Three settings are not values but shorthands: ``preset`` names the lowest layer, ``depth`` derives the shape
of the model from one number, and ``batch_tokens`` is the batch size in tokens. How long to train may be said
as epochs, steps or tokens; whoever says it later says it alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gptmodel import presets
from gptmodel.errors import ConfigError, did_you_mean
from gptmodel.model.config import ModelConfig
from gptmodel.parse import complaint, parse_toml
from gptmodel.synonyms import called_here
from gptmodel.training.config import SECTIONS, Config, dump_toml, parse

__all__ = ["SECTIONS", "Config", "Resolved", "compose", "dump_toml", "parse", "section_of"]

DEFAULT_PRESET = "tiny"
FINE_TUNING_RATE = 1e-4
PREFIX = "GPTMODEL_"
NOT_SETTINGS = frozenset({"GPTMODEL_CACHE", "GPTMODEL_DEBUG"})
LENGTHS = ("epochs", "max_steps", "max_tokens")
SHORTHANDS = ("preset", "depth", "batch_tokens")

Layer = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Resolved:
    """A configuration and where each of its values came from (``{"train.seed": "--seed"}``; absent: the
    default).
    """

    config: Config
    origins: dict[str, str]

    def __str__(self) -> str:
        return dump_toml(self.config, self.origins)

    @property
    def derived(self) -> dict[str, Any]:
        """The settings that `depth` decided, by bare name."""
        flat = self.config.flat()
        return {
            key.partition(".")[2]: flat[key]
            for key, origin in self.origins.items()
            if origin.startswith("derived from depth")
        }


def section_of(name: str) -> str | None:
    """The table that the setting ``name`` stands in."""
    return next((section for section, kind in SECTIONS.items() if name in kind.model_fields), None)


def compose(
    flags: Mapping[str, Any] | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
    base: Config | None = None,
    model_config: ModelConfig | None = None,
) -> Resolved:
    """Resolve a configuration.

    ``flags`` are settings by bare name, from the command line or a program (``None`` means not given);
    ``file`` is TOML; ``environment`` is a mapping such as ``os.environ``. ``base`` takes the preset's place
    when a run is resumed, and ``model_config`` that of the preset's model when weights are taken over.

    Raises ConfigError for an unknown name, with the near one, and for a value out of range, with its origin.

    >>> compose({"preset": "nano", "max_steps": 20}).config.train.max_steps
    20
    """
    if flags is not None and not isinstance(flags, Mapping):
        raise ConfigError(
            f"compose takes settings by name, not {type(flags).__name__}: "
            'compose({"train_data": "input.txt", "preset": "tiny"})'
        )
    given = {k.replace("-", "_"): v for k, v in (flags or {}).items() if v is not None}
    layers = [
        *([_file_layer(Path(file))] if file is not None else []),
        _environment_layer(environment or {}),
        {f"--{'no-' if v is False else ''}{k.replace('_', '-')}": (k, v) for k, v in given.items()},
    ]
    shorthands = {k: (v, origin) for layer in layers for origin, (k, v) in layer.items() if k in SHORTHANDS}
    unnamed = base.preset if base else "modern" if "depth" in shorthands else DEFAULT_PRESET
    preset, preset_origin = shorthands.get("preset", (unnamed, "default"))
    if base is not None and preset != base.preset:
        raise ConfigError(
            f"the run was started with --preset {base.preset}, not {preset}: a run keeps its preset"
        )
    bottom = _preset_layer(str(preset)) if base is None else {}
    if "depth" in shorthands and base is not None:
        _check_depth(base.model["layers"], *shorthands["depth"])
    elif "depth" in shorthands:
        said = {k: v for layer in layers for k, v in layer.values()}
        bottom |= _depth_layer(str(preset), *shorthands["depth"], bottom, said)

    tables: Layer = {section: {} for section in SECTIONS}
    origins = {"preset": preset_origin}
    if model_config is not None:
        bottom |= {
            f"init-from: {k}": (k, v) for k, v in model_config.model_dump().items() if k != "vocab_size"
        }
        bottom["init-from, to tune gently"] = ("learning_rate", FINE_TUNING_RATE)
    if base is not None:
        origins |= dict.fromkeys(base.flat(), "the run's config.toml")
        tables = {k: dict(v) for k, v in base.model_dump().items() if isinstance(v, dict)}
    for layer in (bottom, *layers):
        _lay(tables, origins, layer)
    if "batch_tokens" in shorthands:
        if any(name == "batch_size" for layer in layers for name, _ in layer.values()):
            raise ConfigError("batch_tokens and batch_size both say how large a batch is: give one")
        _set_batch(tables, origins, *shorthands["batch_tokens"])
    return Resolved(_validate({"preset": preset, **tables}, origins), origins)


def _lay(tables: Layer, origins: dict[str, str], layer: Mapping[str, tuple[str, Any]]) -> None:
    """Put one layer over what is there."""
    names = [name for name, _ in layer.values()]
    if any(name in LENGTHS for name in names):
        for name in LENGTHS:
            tables["train"].pop(name, None)
            origins.pop(f"train.{name}", None)
    for origin, (name, value) in layer.items():
        if name in SHORTHANDS:
            continue
        section = section_of(name)
        if section is None:
            known = [field for kind in SECTIONS.values() for field in kind.model_fields] + [*SHORTHANDS]
            hint = called_here(name) or did_you_mean(name, known)
            if name in SECTIONS:
                hint = f"; settings have no sections here: {{'max_steps': 3}} instead of {{{name!r}: {{…}}}}"
            raise ConfigError(f"unknown setting {name!r} ({origin}){hint}")
        tables[section][name] = value
        origins[f"{section}.{name}"] = origin.partition(": ")[0]


def _set_batch(tables: Layer, origins: dict[str, str], tokens: Any, origin: str) -> None:
    """The batch size out of the tokens of a batch: whole windows, at least one."""
    try:
        wanted, length = int(tokens), int(tables["model"]["context_length"])
    except (TypeError, ValueError):
        wanted, length = 0, 1
    if wanted < 1 or length < 1:
        raise ConfigError(f"batch_tokens = {tokens!r} (from {origin}): should be a number of tokens")
    tables["train"]["batch_size"] = max(1, round(wanted / length))
    origins["train.batch_size"] = f"{origin} {wanted}"


def _validate(tables: dict[str, Any], origins: Mapping[str, str]) -> Config:
    try:
        config = Config(**tables)
    except ValidationError as error:
        raise ConfigError(complaint(error, origins)) from None
    for name, value in config.flat().items():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{name.partition('.')[2]} = {value!a} is a name that is not UTF-8, as config.toml must be: "
                "rename the file, or give a link to it"
            ) from None
    return config


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
        tables = parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration file {path}") from None
    except (OSError, ValueError) as error:
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
                near = called_here(name) or did_you_mean(name, SECTIONS[key].model_fields)
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
            value = tuple(re.split(rf"{os.pathsep}(?!//)", value))  # the colon of s3:// divides nothing
        layer[variable] = (name, value)
    return layer


def _check_depth(layers: int, depth: Any, origin: str) -> None:
    """Raise ConfigError for another depth than the run has; what follows from it stands in its config."""
    if str(depth) != str(layers):
        raise ConfigError(f"depth = {depth!r} (from {origin}): the run has {layers} layers and keeps them")


def _depth_layer(
    family: str,
    depth: Any,
    origin: str,
    bottom: Mapping[str, tuple[str, Any]],
    said: Mapping[str, Any],
) -> dict[str, tuple[str, Any]]:
    """The one dial: all that follows from the number of layers, and from context and vocabulary."""
    known = {**dict(bottom.values()), **said}
    try:
        depth = int(depth)
        if family in presets.FAMILIES:
            context, vocabulary = int(known["context_length"]), int(said.get("vocab_size", known["vocab"]))
    except (TypeError, ValueError):
        raise ConfigError(
            f"depth = {depth!r} (from {origin}): should be a number of layers, 1 or more"
        ) from None
    try:
        presets.shape(family, depth)
        derived = presets.derive(family, depth, context_length=context, vocab_size=vocabulary)
    except ValueError as error:
        raise ConfigError(f"depth = {depth!r} (from {origin}): {error}") from None
    return {f"derived from depth {depth}: {name}": (name, value) for name, value in derived.items()}
