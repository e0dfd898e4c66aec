"""``--budget``: settings for a run that is to end in time, and a line that says what was chosen and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from gptmodel import presets
from gptmodel.cli.app import say
from gptmodel.config import LENGTHS, compose
from gptmodel.device import describe_device, pick_device
from gptmodel.errors import ConfigError
from gptmodel.processes import place
from gptmodel.training.budget import TRAINING_SHARE, parameters_for, parse_duration, step_seconds
from gptmodel.training.compile import CPU_SECONDS_PAY, is_plain
from gptmodel.training.config import Config
from gptmodel.units import human, in_words

__all__ = ["within_budget"]

SIZES = ("preset", "depth", "layers", "width", "init_from")
LARGEST_DEPTH = 48


def within_budget(
    given: dict[str, Any],
    budget: str,
    *,
    spent: Callable[[], float],
    file: Any = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The flags ``given`` and those that make the run end in time. Says what it measured and chose.

    ``spent`` tells how many seconds of the budget are over: to load PyTorch and to measure takes some of a
    short one. How long it takes to tokenize a text is not known before, and not counted.

    Raises ConfigError when the length of the run is given too.
    """
    seconds = parse_duration(budget)
    given = {name: value for name, value in given.items() if value is not None}
    for name in LENGTHS:
        if name in given:
            raise ConfigError(f"--budget chooses the steps: leave out --{name.replace('_', '-')}")
    config = compose(given, file=file, environment=environment).config
    device = describe_device(pick_device(config.train.device))
    if not any(name in given for name in SIZES) and file is None:
        given = chosen_size(given, config, seconds, spent, device)
    if compiling_fits(config, seconds):
        given = {**given, "compile": True}
    config = compose(given, file=file, environment=environment).config
    each = step_seconds(config, vocabulary(config), seconds=min(3.0, seconds / 20))
    over = spent()
    steps = max(1, math.floor(TRAINING_SHARE * (seconds - over) / each))
    measured = f"{over:.3g} s went to start and to measure, and a step takes {each:.3g} s on {device}"
    if steps == 1:
        say(f"budget    {budget}: {measured}: a single step is done; give it more time")
    else:
        say(f"budget    {budget}: {measured}, so {steps:,} steps fill {TRAINING_SHARE:.0%} of what is left;")
        say("          the rest is for evaluations, samples and saving; to tokenize a text is not counted")
    return {**given, "max_steps": steps}


def compiling_fits(config: Config, seconds: float) -> bool:
    """Whether a run on a CPU is long enough to be compiled, which `compiling_pays` says of other runs."""
    on_cpu = pick_device(config.train.device).type == "cpu"
    wanted = config.train.compile is None and is_plain(config, place().size)
    return on_cpu and wanted and seconds >= CPU_SECONDS_PAY


def chosen_size(
    given: dict[str, Any], config: Config, seconds: float, spent: Callable[[], float], device: str
) -> dict[str, Any]:
    """The flags with a shape and rates for the time; ``config`` is what they give without."""
    vocab_size = vocabulary(config)
    model = config.build_model_config(vocab_size)
    each = step_seconds(config, vocab_size, seconds=min(3.0, seconds / 20))
    weights = 12 * model.layers * model.width**2 + vocab_size * model.width
    rate = 6 * weights * config.train.batch_size * model.context_length / each
    # A step at least, where the budget is over already.
    operations = TRAINING_SHARE * max(each, seconds - spent()) * rate
    wanted = parameters_for(operations)
    depth = min(
        range(1, LARGEST_DEPTH + 1),
        key=lambda depth: abs(math.log(presets.parameters("modern", depth, vocab_size) / wanted)),
    )
    found = presets.parameters("modern", depth, vocab_size)
    derived = presets.derive(
        "modern",
        depth,
        context_length=model.context_length,
        vocab_size=vocab_size,
        tokens=operations / (6 * found),
    )
    del derived["max_steps"]
    say(
        f"budget    {device} trains at {human(rate)}FLOP/s, {operations:.2g} operations in that time: "
        f"{human(wanted)} parameters suit it; {in_words(derived)}"
    )
    return {**derived, **given}


def vocabulary(config: Config) -> int:
    """The vocabulary that the run will have, as far as the configuration tells."""
    return int(config.model.get("vocab_size") or config.data.vocab)
