"""``gptmodel train``: its options are the fields of the configuration's models, written down there, once."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic.fields import FieldInfo

from gptmodel import checkpoint
from gptmodel.checkpoint import runs
from gptmodel.cli.app import EXAMPLES, app, say
from gptmodel.config import Resolved, compose
from gptmodel.errors import ConfigError
from gptmodel.processes import place
from gptmodel.training.config import SECTIONS, parse
from gptmodel.units import in_words

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
    if place().alone:
        _train(**given)
        return
    from gptmodel.training import distributed

    with distributed.join():
        _train(**given)


def _train(
    *, config: Path | None = None, print_config: bool = False, resume: bool | str = False, **given: Any
) -> None:
    """Train, or print the configuration; of several processes the first prints."""
    run = _run_to_resume(given, config, resume)
    given = {name: value for name, value in given.items() if value is not None}
    budget = given.pop("budget", None)
    if budget and resume is True:
        raise ConfigError("--budget chooses what a new run does: leave it out with --resume")
    if budget and not place().alone:
        raise ConfigError("--budget measures the step of one process: leave it out with several")
    if budget and run is None:
        from gptmodel.cli.budget import within_budget

        given = within_budget(given, budget, file=config, environment=os.environ)
    resolved = _resolve(given, config, run)
    if print_config:
        if place().first:
            print(resolved, end="")
        return
    if resolved.derived and place().first:
        say(f"{'depth':<10}{in_words(resolved.derived)}")
    from gptmodel.training.loop import train as train_run

    state = train_run(resolved.config, resume=run)
    if state.ranks.first:
        say(
            f"done      try: gptmodel generate {state.run}\n"
            f"               gptmodel plot {state.run} -o losses.pdf"
        )


def _run_to_resume(given: Mapping[str, Any], file: Path | None, resume: bool | str) -> Path | None:
    """The folder of the run to go on with; None for a new one."""
    if not resume:
        return None
    named = {name: given[name] for name in ("output", "experiment_name") if name in given}
    settings = compose(named, file=file, environment=os.environ).config.train
    return runs.find(settings.output, settings.experiment_name)


def _resolve(given: Mapping[str, Any], file: Path | None, run: Path | None) -> Resolved:
    """The configuration of a new run, or of ``run`` with what is given now."""
    if run is not None:
        base = parse(checkpoint.newest(run).text("config.toml"), str(run / "config.toml"))
        return compose(given, file=file, environment=os.environ, base=base)
    resolved = compose(given, file=file, environment=os.environ)
    if resolved.config.train.init_from is None:
        return resolved
    from gptmodel.load import stored_config

    stored = stored_config(resolved.config.train.init_from)
    return compose(given, file=file, environment=os.environ, model_config=stored)


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
