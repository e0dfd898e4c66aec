"""How long to train, and what, when only the time is given: the step is measured on the device at hand.

``--budget 10m`` alone chooses the size too. What the device computes in that time, C operations, is divided
between size and text: P parameters and r P tokens cost 6 r P² operations, with r = (C / 2e13)^0.21 held
within 1 and 10. That line goes through two points: a minute of two CPU cores, where 1.9 million parameters
and as many tokens were best (benches/results), and the 10 tokens a parameter of nanochat's largest runs.
With a preset, a depth or a width given, the size stays, and only the number of steps is chosen.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from gptmodel.data import TrainingData
from gptmodel.device import compute_dtype, keep_freed_memory, pick_device, pick_precision, set_threads
from gptmodel.errors import ConfigError
from gptmodel.training.config import Config
from gptmodel.training.distributed import Ranks
from gptmodel.training.optim import build_optimizer
from gptmodel.training.parallel import place
from gptmodel.training.products import Products, choose_products, using
from gptmodel.training.state import TrainState, build_model
from gptmodel.training.step import train_step

__all__ = ["TRAINING_SHARE", "parameters_for", "parse_duration", "state_without_data", "step_seconds"]

TRAINING_SHARE = 0.85
"""The part of the time, once a step is measured, that steps have; the rest is for evaluations, samples and
saving."""

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """Seconds of "90s", "10m", "2h", "1.5d" or "90". Raises ConfigError for anything else.

    >>> parse_duration("1.5h")
    5400.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if found is None or float(found[1]) == 0:
        raise ConfigError(f"--budget {text!r}: should be a time such as 90s, 10m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def parameters_for(operations: float) -> float:
    """How many parameters a training of so many floating-point operations should have."""
    ratio = min(10.0, max(1.0, (operations / 2e13) ** 0.21))
    return math.sqrt(operations / (6 * ratio))


def state_without_data(config: Config, vocab_size: int) -> TrainState:
    """A state whose step can be run and timed; it belongs to no run and reads nothing."""
    device = pick_device(config.train.device)
    set_threads(config.train.threads)
    precision = pick_precision(config.train.precision, device)
    model = build_model(config, config.build_model_config(vocab_size), resumed=True)
    model.compute_dtype = compute_dtype(precision)
    settings, ranks = config.train, Ranks()
    rows = settings.rows_at_once(settings.batch_size)
    compiled = device.type == "cuda" if settings.compile is None else settings.compile
    masked = config.data.documents != "stream"
    parallel = place(model, device, ranks, shard=False, compiled=compiled, rows=rows, masked=masked)
    return TrainState(
        config=config,
        run=Path(),
        model=model,
        optimizer=build_optimizer(model, config.optim, device),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        data=cast(TrainingData, None),
        device=device,
        precision=precision,
        loss_fn=parallel.loss_fn,
        compiler=parallel.compiler,
        token_bytes=None,
        ranks=ranks,
        parallel=parallel,
        total_steps=10**6,
    )


def step_seconds(
    config: Config,
    vocab_size: int,
    *,
    seconds: float = 3.0,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The median time of a step of ``config`` on ids drawn at random, measured for about ``seconds``.

    Where attention stays inside documents, each window is one. The first two steps, which compile and
    allocate, do not count.
    """
    device = pick_device(config.train.device)
    if device.type == "cpu":
        keep_freed_memory()
    with using(_products(config, vocab_size), compiled=device.type == "cpu" and bool(config.train.compile)):
        return _median_step(state_without_data(config, vocab_size), vocab_size, seconds, clock)


def _products(config: Config, vocab_size: int) -> Products:
    """The matrix products that a run of ``config`` would choose."""
    device = pick_device(config.train.device)
    if device.type != "cpu" or pick_precision(config.train.precision, device) != "fp32":
        return "mkl"
    rows = config.train.rows_at_once(config.train.batch_size)
    return choose_products(
        config.build_model_config(vocab_size),
        rows,
        config.train.cpu_products,
        compiled=bool(config.train.compile),
    )[0]


def _median_step(state: TrainState, vocab_size: int, seconds: float, clock: Callable[[], float]) -> float:
    config = state.config
    shape = (config.train.batch_size, state.model.config.context_length)
    ids = torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(0)).to(state.device)
    documents = None if config.data.documents == "stream" else torch.zeros_like(ids)
    times: list[float] = []
    while len(times) < 5 or (sum(times) < seconds and len(times) < 100):
        began = clock()
        float(train_step(state, ids, ids, documents).loss)
        times.append(clock() - began)
    return sorted(times[2:])[(len(times) - 2) // 2]
