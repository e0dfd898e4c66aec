"""``gptmodel train``: its options are the fields of the configuration's models, written down there, once."""

from __future__ import annotations

import difflib
import functools
import inspect
import operator
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import Group, Parameter
from pydantic.fields import FieldInfo

from gptbpe.cli import usage
from gptmodel import checkpoint, presets
from gptmodel.checkpoint import runs
from gptmodel.cli.app import say
from gptmodel.cli.idle import idle
from gptmodel.config import Resolved, compose
from gptmodel.errors import ConfigError
from gptmodel.processes import place
from gptmodel.synonyms import SAME
from gptmodel.threads import wait_politely
from gptmodel.training.config import SECTIONS, Config, parse
from gptmodel.units import duration, in_words

WITH_VALUES = {
    "--train-data": "text file",
    "--eval-data": "text file",
    "--shards": "folder of shards",
}
"""Options that take several values, and would take none, and what each is."""

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

Only --train-data or --shards is required. Settings come from the preset, a TOML file, GPTMODEL_… environment
variables and these options; later ones override earlier ones. --print-config shows the result and where each
value came from.
"""


def train(**given: Any) -> None:
    """See TRAIN_HELP."""
    if not given.get("print_config"):
        wait_politely()
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
    called = time.monotonic()
    run = _run_to_resume(given, config, resume)
    given = {name: value for name, value in given.items() if value is not None}
    budget = given.pop("budget", None)
    if budget and resume is True:
        raise ConfigError("--budget chooses what a new run does: leave it out with --resume")
    if budget and not place().alone:
        raise ConfigError("--budget measures the step of one process: leave it out with several")
    if budget and run is None:
        from gptmodel.cli.budget import within_budget

        given = within_budget(
            given, budget, spent=lambda: time.monotonic() - called, file=config, environment=os.environ
        )
    resolved = _resolve(given, config, run)
    if print_config:
        if place().first:
            print(resolved, end="")
        return
    if resolved.derived and place().first:
        say(f"{'depth':<10}{in_words(resolved.derived)}")
    if place().first:
        for sentence in idle(resolved):
            say(f"note      {sentence}")
    runs.check_output(resolved.config.train.output)
    for name in resolved.config.data.shards or ():
        if Path(name).is_file():
            raise ConfigError(f"--shards {name} is a file: a text is given as --train-data {name}")
    began = time.monotonic()
    from gptmodel.training.loop import train as train_run

    state = train_run(resolved.config, resume=run)
    if state.ranks.first:
        say(f"done      {_result(state.run)}in {duration(time.monotonic() - began)} -> {state.run}")
        lowest = _lowest(state.run, state.step)
        if lowest:
            say(lowest)
        say(f"          try: gptmodel generate {_quoted(state.run)}")
        say(f"               gptmodel plot {_quoted(state.run)} -o losses.pdf")


def _result(run: Path) -> str:
    """What was measured last: "held-out loss 2.1034, 1.802 bits per byte, "."""
    from gptmodel.training.log import read_metrics

    last = next((r for r in reversed(read_metrics(run)) if r.get("kind") == "evaluation"), None)
    if last is None:
        return ""
    bits = f", {last['bits_per_byte']:.3f} bits per byte" if last.get("bits_per_byte") else ""
    return f"held-out loss {last['loss']:.4f}{bits}, "


def _lowest(run: Path, step: int) -> str | None:
    """A line that names the best checkpoint, where a longer training has made the model worse."""
    best = checkpoint.best(run)
    if best is None or best.step >= step or best.evaluation_loss is None:
        return None
    return (
        f"          held-out loss was lowest at step {best.step:,}: {best.evaluation_loss:.4f}, "
        f"in {_quoted(run / 'best')}"
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _run_to_resume(given: Mapping[str, Any], file: Path | None, resume: bool | str) -> Path | None:
    """The folder of the run to go on with; None for a new one. Every rank must call this."""
    if not resume:
        return None
    named = {name: given[name] for name in ("output", "experiment_name", "preset", "depth") if name in given}
    config = compose(named, file=file, environment=os.environ).config
    output, name = config.train.output, config.train.experiment_name
    if resume is True:
        return runs.find(output, name)
    folder = output / (name or config.preset)

    def begun() -> bool:
        return runs.has_begun(folder)

    if not place().alone:
        from gptmodel.training.distributed import from_environment

        return folder if from_environment().from_first(begun) else None
    return folder if begun() else None


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


def check_options(words: Sequence[str]) -> None:
    """Raise ConfigError for an option that ``train`` has not, with the nearest of those that it takes.

    The parser would say so as well, in a third more time and without the names of other trainers: before it
    looks at the words it builds all of the eighty options.
    """
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else "--"
        if word in WITH_VALUES and following.startswith("--"):
            raise ConfigError(f"{word} has no value: name a {WITH_VALUES[word]} after it")
        if word == "--resume" and not following.startswith("-") and following != "auto":
            name = Path(following).name or "NAME"
            raise ConfigError(f"--resume {following}: a run is named with --resume --experiment-name {name}")
    ours = {name.replace("_", "-") for name in inspect.signature(train).parameters}
    ours |= {name.removeprefix("--") for names in ALIASES.values() for name in names} | {"help", "version"}
    taken = ours | {other for others in SAME.values() for other in others.split()}
    for word in takewhile(lambda word: word != "--", words):
        option = word.partition("=")[0]
        name = option.removeprefix("--").replace("_", "-")
        if option.startswith("--") and name.removeprefix("no-") not in ours:
            near = difflib.get_close_matches(name, taken, n=1)
            hint = f"Did you mean --{near[0]}?" if near else "See gptmodel train --help"
            raise ConfigError(f"Unknown option: {option}. {hint}")


def show_values_of(words: Sequence[str]) -> None:
    """Let the help show values: those of the preset that the words of a command name, or of the default."""
    given = {}
    for name in ("preset", "depth"):
        for at, word in enumerate(words):
            if word == f"--{name}" and at + 1 < len(words):
                given[name] = words[at + 1]
            elif word.startswith(f"--{name}="):
                given[name] = word.partition("=")[2]
    try:
        _describe(compose(given).config)
    except ConfigError:  # said when it is no longer only help that is wanted
        _describe(compose().config)


def _describe(config: Config | None = None) -> None:
    """Give `train` its options; their help shows the values of ``config`` as what they are when left out."""
    parameters = _train_parameters(config)
    train.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    train.__annotations__ = {p.name: p.annotation for p in parameters}


def _train_parameters(config: Config | None) -> list[inspect.Parameter]:
    """One keyword for each setting, and those that are about the configuration as a whole."""
    first = Group("Configuration", sort_key=0)
    values = {} if config is None else config.flat()
    whole = {
        "preset": (
            str | None,
            f"Starting point for all settings: {', '.join(presets.names())}. The defaults below are "
            f"its values. [default: {values.get('preset')}]",
        ),
        "depth": (
            int | None,
            "With the presets modern and gpt2: derive shape, learning rates, batch and steps from this "
            "number of layers.",
        ),
        "budget": (
            str | None,
            "Be done after this time (90s, 10m, 2h), in which tokenizing a text is not counted: time a step "
            "and choose the number of steps, and also the size of the model if no preset, depth or shape is "
            "given.",
        ),
        "batch_tokens": (
            int | None,
            "Batch size in tokens instead of windows; --micro-batch-size auto splits it to fit.",
        ),
        "config": (Path | None, "A TOML file with settings, such as the config.toml of a run."),
        "print_config": (
            bool | None,
            "Print the resulting settings and where each came from, and exit.",
        ),
        "resume": (
            bool | Literal["auto"] | None,
            "Continue the run of --experiment-name, or the newest run, from its last checkpoint; "
            "`--resume auto` begins the run if there is none yet.",
        ),
    }
    parameters = [
        _keyword(
            name,
            kind,
            Parameter(
                converter=usage.whole if _is_whole(kind) else None,
                help=text,
                group=first,
                negative="",
                show_default=False,
            ),
        )
        for name, (kind, text) in whole.items()
    ]
    for section, model in SECTIONS.items():
        for name, info in model.model_fields.items():
            names = ALIASES.get(name)
            many = "tuple" in str(info.annotation)
            parameters.append(
                _keyword(
                    name,
                    _unlimited(info.annotation) | None,
                    Parameter(
                        converter=usage.whole if _is_whole(info.annotation) else None,
                        name=names,
                        help=_help(name, info, values.get(f"{section}.{name}")),
                        group=GROUPS[section],
                        consume_multiple=many,
                        negative_iterable=(),
                        negative_none=(),
                        show_default=False,
                    ),
                )
            )
    return parameters


def _is_whole(kind: Any) -> bool:
    """Whether a setting is a whole number, perhaps with limits, or a word besides."""
    parts = [part for part in (kind, *get_args(kind)) if part is not None]
    return any(part is int or int in get_args(part) for part in parts)


def _unlimited(kind: Any) -> Any:
    """A type without the limits of its parts, which `compose` checks with words of its own."""
    parts = [get_args(part)[0] if get_origin(part) is Annotated else part for part in get_args(kind)]
    return functools.reduce(operator.or_, parts) if get_origin(kind) in (Union, UnionType) else kind


def _keyword(name: str, kind: Any, parameter: Parameter) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, parameter]
    )


def _help(name: str, info: FieldInfo, value: Any) -> str:
    """The description, with the default: the value of the preset, or what the description says."""
    text = info.description or name.replace("_", " ")
    text = text[0].upper() + text[1:]
    if value in (None, ""):
        return text
    text = text.partition(" [default: ")[0]
    return f"{text} [default: {str(value).lower() if isinstance(value, bool) else value}]"


train.__doc__ = TRAIN_HELP
_describe()
