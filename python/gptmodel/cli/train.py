"""``gptmodel train``: its options are the fields of the configuration's models, written down there, once."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic.fields import FieldInfo

from gptmodel import checkpoint, load
from gptmodel.checkpoint import runs
from gptmodel.cli.app import EXAMPLES, app, say
from gptmodel.cli.budget import describe, within_budget
from gptmodel.config import compose
from gptmodel.errors import ConfigError
from gptmodel.training import distributed
from gptmodel.training.config import SECTIONS, parse
from gptmodel.training.loop import train as train_run

ALIASES = {"train_data": ["--train-data", "--data-path"]}
GROUPS = {
    "train": Group("Run", sort_key=2),
    "data": Group("Data", sort_key=1),
    "model": Group("Model", sort_key=3),
    "optim": Group("Optimizer", sort_key=4),
    "schedule": Group("Schedule", sort_key=5),
    "checkpoint": Group("Checkpoints", sort_key=6),
}
TRAIN_HELP = """Train a GPT on text or on token shards.

Needs --shards or --train-data and nothing else. Settings come from a preset, then a TOML file, then
GPTMODEL_… variables, then these options, the later over the earlier; --print-config shows the result and
where each value came from.
"""


def train(**given: Any) -> None:
    """See TRAIN_HELP."""
    with distributed.join() as ranks:
        run = _train(ranks, **given)
    if run is not None and ranks.first:
        say(
            f"done      try: gptmodel generate --checkpoint {run}\n"
            f"               gptmodel plot {run} -o losses.pdf"
        )


def _train(ranks: distributed.Ranks, **given: Any) -> Path | None:
    """Train, and return the run's folder; None when there was only a configuration to print."""
    file, resume, print_config = (given.pop(name, None) for name in ("config", "resume", "print_config"))
    budget, run = given.pop("budget", None), None
    if budget and resume:
        raise ConfigError("--budget chooses what a new run does: leave it out with --resume")
    if budget and not ranks.alone:
        raise ConfigError("--budget measures the step of one process: leave it out with several")
    if budget:
        given = within_budget(given, budget, file=file, environment=os.environ)
    if resume:
        named: dict[str, Any] = {name: given[name] for name in ("output", "experiment_name") if name in given}
        settings = compose(named, file=file, environment=os.environ).config.train
        run = runs.find(settings.output, settings.experiment_name)
        base = parse(checkpoint.newest(run).text("config.toml"), str(run / "config.toml"))
        resolved = compose(given, file=file, environment=os.environ, base=base)
    else:
        resolved = compose(given, file=file, environment=os.environ)
    if not resume and resolved.config.train.init_from is not None:
        stored = load.stored_config(resolved.config.train.init_from)
        resolved = compose(given, file=file, environment=os.environ, model_config=stored)
    if print_config:
        print(resolved, end="")
        return None
    if resolved.derived and ranks.first:
        say(f"{'depth':<10}{describe(resolved.derived)}")
    return train_run(resolved.config, resume=run).run


def _train_parameters() -> list[inspect.Parameter]:
    """One keyword for each setting, and those that are about the configuration as a whole."""
    first = Group("Configuration", sort_key=0)
    whole = {
        "preset": (str | None, "Named starting point: tiny, nano, micro, gpt2, modern, … [default: tiny]"),
        "depth": (
            int | None,
            "Presets modern and gpt2: derive shape, rates, batch and steps from the number of layers.",
        ),
        "budget": (
            str | None,
            "Train for so long (90s, 10m, 2h): choose the steps by a measured step, and the size if no "
            "preset, depth or shape is given.",
        ),
        "batch_tokens": (
            int | None,
            "The batch in tokens instead of windows; with --micro-batch-size auto it is split to fit.",
        ),
        "config": (Path | None, "A TOML file of settings, such as a run's config.toml."),
        "print_config": (
            bool | None,
            "Print the resulting configuration and where each value came from, then stop.",
        ),
        "resume": (
            bool | None,
            "Go on with the run of --experiment-name, or the newest, where it was saved last.",
        ),
    }
    parameters = [
        _keyword(name, kind, Parameter(help=text, group=first, negative="", show_default=False))
        for name, (kind, text) in whole.items()
    ]
    for section, model in SECTIONS.items():
        for name, info in model.model_fields.items():
            names = ALIASES.get(name)
            many = "tuple" in str(info.annotation)
            parameters.append(
                _keyword(
                    name,
                    info.annotation | None,  # type: ignore[operator]
                    Parameter(
                        name=names,
                        help=_help(name, info),
                        group=GROUPS[section],
                        consume_multiple=many,
                        negative_iterable=(),
                        negative_none=(),
                        show_default=False,
                    ),
                )
            )
    return parameters


def _keyword(name: str, kind: Any, parameter: Parameter) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, parameter]
    )


def _help(name: str, info: FieldInfo) -> str:
    text = info.description or name.replace("_", " ")
    text = text[0].upper() + text[1:]
    if info.is_required() or info.default is None or info.default == "":
        return text
    default = info.default if not isinstance(info.default, bool) else str(info.default).lower()
    return f"{text} [default: {default}]"


def _define_train() -> None:
    parameters = _train_parameters()
    train.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    train.__annotations__ = {p.name: p.annotation for p in parameters}
    train.__doc__ = TRAIN_HELP
    app.command(train, help_epilogue=f"Example: `{EXAMPLES['train']}`")


_define_train()
