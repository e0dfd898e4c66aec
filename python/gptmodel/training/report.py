"""What a run says: what is about to happen, what each step measured, how fast it was.

MFU is floating-point operations that training needs, over the card's peak at the precision in use, by both
conventions: ``mfu`` counts attention in full (PaLM, nanoGPT), ``mfu_causal`` the half that a causal kernel
computes.
"""

from __future__ import annotations

import math
import time

import torch

from gptmodel.device import bf16_is_slow, describe_device, memory_bytes, peak_flops
from gptmodel.errors import ConfigError
from gptmodel.evaluate import bits_per_byte
from gptmodel.model.attention import document_mask, is_written_out, watch_kernels
from gptmodel.model.gpt import Block, MultiHeadAttention
from gptmodel.model.positions import RotaryPositions
from gptmodel.threads import share_found, sleep_while_waiting
from gptmodel.training.config import dump_toml
from gptmodel.training.cpu import operators
from gptmodel.training.log import Progress, RunLog, read_metrics
from gptmodel.training.parallel import is_sharded
from gptmodel.training.schedule import warmup_steps
from gptmodel.training.spikes import Spikes
from gptmodel.training.state import TrainState
from gptmodel.training.step import StepResult
from gptmodel.units import counted, duration, human

__all__ = ["Clock", "compare_with_uniform", "record", "report"]


LONG = 120.0
"""Seconds: of a longer run it is said beforehand how long it takes."""

TIMED_STEPS, TIMED_SECONDS = 3, 1.0
"""So much must have been timed before that is said."""


def report(state: TrainState, progress: Progress, log: RunLog) -> None:
    """Say what is about to happen."""
    model_config, settings = state.model.config, state.config.train
    rows = settings.rows_at_once(settings.batch_size)
    kernel, doubt = attention_kernel(state)
    parameters = state.model.num_parameters()
    tokens = state.total_steps * state.tokens_per_step
    epochs = state.total_steps * settings.batch_size / state.data.windows
    split = f" in micro-batches of {rows}" if rows < settings.batch_size else ""
    lines = [
        f"run       {state.run}" + (f", resumed after step {state.step}" if state.step else ""),
        f"device    {describe_device(state.device)}, {state.precision}, {state.compiler}; attention {kernel}",
        *waiting(state.device),
        *(f"warning   {each}" for each in [doubt, *doubts(state)] if each),
        f"model     {human(parameters)} parameters: preset {state.config.preset}, "
        f"{counted(model_config.layers, 'layer')}, width {model_config.width}, "
        f"{counted(model_config.heads, 'head')}, "
        f"context {model_config.context_length}, vocabulary {model_config.vocab_size:,}",
        *state.data.description,
        f"training  {state.total_steps:,} steps of {settings.batch_size} × {model_config.context_length}"
        f"{split} = {human(tokens)} tokens, {tokens / parameters:.2g} a parameter, {epochs:.2g} epochs; "
        f"{state.config.schedule.schedule} after {warmup_steps(state.config.schedule, state.total_steps)} "
        "of warm-up",
    ]
    for line in lines:
        progress.say(line)
    if not state.step:
        log.text("config", dump_toml(state.config))


def doubts(state: TrainState) -> list[str]:
    """What the settings say and is hardly meant."""
    found = []
    if state.precision == "bf16" and bf16_is_slow(state.device):
        found.append("bf16 is slower than fp32 on this processor, which has no fast bf16 products (AMX)")
    warmup = state.config.schedule.warmup_steps or 0
    if warmup > state.total_steps:
        found.append(
            f"--warmup-steps {warmup:,} in a run of {counted(state.total_steps, 'step')}: the learning rate "
            "rises until the last step"
        )
    return found


def waiting(device: torch.device) -> list[str]:
    """A line where the threads of a CPU sleep while they wait for one another."""
    if device.type != "cpu" or not sleep_while_waiting():
        return []
    share = share_found()
    if share is None:
        return ["threads   sleep while they wait, as OMP_WAIT_POLICY says"]
    return [
        f"threads   sleep while they wait: other programs leave each {share:.0%} of a core "
        "(OMP_WAIT_POLICY=ACTIVE lets them spin)"
    ]


def attention_kernel(state: TrainState) -> tuple[str, str | None]:
    """The kernel that the model's attention runs in training, and a warning where a card computes it plainly.

    The first block's own attention is run once, forward and backward, on one row: no kernel is chosen by the
    batch, and the probe must not disturb a full device.
    """
    model, config = state.model, state.model.config
    if config.attention == "math":
        return "math (written out)", None
    if not len(model.blocks):
        return "none: no blocks", None
    dtype = model.compute_dtype or next(model.parameters()).dtype
    written_out = is_written_out(state.device, dtype, config.context_length)
    if config.attention == "auto" and written_out and state.compiler.startswith("compiled"):
        ours = operators.load() and not state.data.masked and not config.dropout
        return "in C++, scores in the cache" if ours else "written out, fused by the compiler", None
    x = torch.zeros(1, config.context_length, config.width, dtype=dtype, device=state.device)
    mask = None
    if state.data.masked:
        one = torch.zeros(1, config.context_length, dtype=torch.long, device=state.device)
        mask = document_mask(one, model.mask_kernel)
        if not isinstance(mask, torch.Tensor):
            return "FlexAttention, documents masked", None
    rotary = model.positions if isinstance(model.positions, RotaryPositions) else None
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # the probe may draw a dropout mask
        block = model.blocks[0]
        assert isinstance(block, Block)
        # of weights that are divided among ranks no block can be used alone
        probed = MultiHeadAttention(config).to(state.device) if is_sharded(model) else block.attention
        try:
            forward, backward = watch_kernels(lambda x: probed(x, rotary=rotary, mask=mask), x)
        except RuntimeError as error:
            how = " with dropout" if config.dropout else ""
            raise ConfigError(
                f"{config.attention} attention cannot run for {dtype} heads of {config.width_per_head}{how} "
                f"on {state.device}: use --attention auto, which takes what the device has"
            ) from error
    name = forward if forward == backward else f"{forward}, backward {backward}"
    name += "" if mask is None else ", documents masked"
    plain = state.device.type == "cuda" and ("math" in forward or "math" in backward)
    warning = (
        "attention runs without a fused kernel: it is slow and holds (context)² numbers" if plain else None
    )
    return name, warning


class Clock:
    """Seconds of training alone: evaluating, sampling and saving are left out of tokens a second.

    ``waited`` is how many of them went by until batches were there; ``spikes`` knows the last records.
    """

    def __init__(self, state: TrainState) -> None:
        self._state, self._since, self._step = state, time.perf_counter(), state.step
        self.waited = 0.0
        self._timed: tuple[int, int, float] | None = (0, 0, 0.0)
        before = read_metrics(state.run) if state.step and state.ranks.first else []
        self.spikes = Spikes((r for r in before if r.get("kind") == "train"), ("loss", "gradient_norm"))

    def lap(self) -> tuple[int, float, float]:
        """Steps, seconds, and seconds without a batch, since the last lap."""
        now = time.perf_counter()
        steps, seconds, waited = self._state.step - self._step, now - self._since, self.waited
        self._state.seconds += seconds
        self._since, self._step, self.waited = now, self._state.step, 0.0
        return steps, seconds, waited

    def seconds_left(self, steps: int, seconds: float) -> float | None:
        """How long the rest of the run takes, once: when enough steps were timed. Laps are added up.

        The first lap does not count, in which a compiler works and memory is taken for the first time.
        """
        if self._timed is None:
            return None
        laps, all_steps, all_seconds = self._timed
        if laps:
            all_steps, all_seconds = all_steps + steps, all_seconds + seconds
        enough = all_steps >= TIMED_STEPS and all_seconds >= TIMED_SECONDS
        self._timed = None if enough else (laps + 1, all_steps, all_seconds)
        left = self._state.total_steps - self._state.step
        return left * all_seconds / all_steps if enough and left else None

    def paused(self) -> Pause:
        return Pause(self)

    def shift(self, seconds: float) -> None:
        self._since += seconds


class Pause:
    """The time inside does not count."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __enter__(self) -> None:
        self._from = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._clock.shift(time.perf_counter() - self._from)


def record(state: TrainState, result: StepResult, clock: Clock, log: RunLog, progress: Progress) -> None:
    """Write the step's numbers down."""
    loss, norm = float(result.loss), float(result.gradient_norm)
    steps, seconds, waited = clock.lap()
    tokens_per_second = steps * state.tokens_per_step / max(seconds, 1e-9)
    full, causal = flops_utilization(state, tokens_per_second)
    bits = (
        None
        if result.target_bytes is None
        else bits_per_byte(loss * int(result.targets), int(result.target_bytes))
    )
    numbers = {
        "loss": loss,
        "bits_per_byte": bits,
        "learning_rate": result.learning_rate,
        "gradient_norm": norm,
        "tokens": state.tokens,
        "epoch": state.epoch,
        "tokens_per_second": tokens_per_second,
        "mfu": full,
        "mfu_causal": causal,
        "data_wait": waited / max(1, steps),
        "memory_bytes": memory_bytes(state.device),
        "seconds": state.seconds,
    }
    with clock.paused():  # the first numbers import a logger's library
        log.scalars("train", state.step, numbers)
    shown = {"loss": f"{loss:.4f}"}
    if bits is not None:
        shown["bpb"] = f"{bits:.3f}"
    shown |= {"tok/s": human(tokens_per_second), "lr": f"{result.learning_rate:.2g}", "norm": f"{norm:.2g}"}
    if full is not None:
        shown["MFU"] = f"{full:.1%}"
    shown["wait"] = f"{waited / max(seconds, 1e-9):.1%}"
    progress.step(state.step, shown)
    if (left := clock.seconds_left(steps, seconds)) is not None and left > LONG:
        progress.say(
            f"time      about {duration(left)} to go, at {left / (state.total_steps - state.step):.2g} s a "
            "step here; Ctrl-C saves and stops, --budget 10m chooses a run of ten minutes"
        )
    note_spikes(state, clock, {"loss": loss, "gradient_norm": norm}, log, progress)


def note_spikes(
    state: TrainState, clock: Clock, values: dict[str, float], log: RunLog, progress: Progress
) -> None:
    """Record a loss or a gradient that is far above the last ones, with the windows that the step read."""
    found = clock.spikes.look(values)
    if not found:
        return
    last = state.step * state.config.train.batch_size
    windows = {"first_sample": last - state.config.train.batch_size, "last_sample": last - 1}
    above = {f"{name}_deviations": deviations for name, deviations in found.items()}
    log.scalars("spike", state.step, {**values, **above, **windows})
    if "loss" in found:  # gradients jump every few hundred steps and are in the record
        progress.say(
            f"spike     step {state.step}: the loss is {values['loss']:.3f}, {found['loss']:.0f} deviations "
            "above the last ones"
        )


def flops_utilization(state: TrainState, tokens_per_second: float) -> tuple[float | None, float | None]:
    """MFU with attention in full and causal; (None, None) where the device's peak is not known."""
    if state.device.type != "cuda":
        return None, None
    peak = peak_flops(describe_device(state.device), state.precision)
    if peak is None:
        return None, None
    peak *= state.ranks.size
    full, causal = (state.model.flops_per_token(causal=causal) for causal in (False, True))
    return tokens_per_second * full / peak, tokens_per_second * causal / peak


def compare_with_uniform(state: TrainState, loss: float, progress: Progress) -> None:
    """A fresh model knows nothing and should say so: its loss is that of a uniform guess, ln V."""
    if state.config.train.init_from is not None:
        progress.say(f"loss      {loss:.4f} at the start, from --init-from")
        return
    uniform = math.log(state.model.config.vocab_size)
    if abs(loss - uniform) > 0.1 * uniform:
        progress.say(
            f"warning   the loss starts at {loss:.3f}, a uniform guess has ln V = {uniform:.3f}: "
            "look at the data and the initialization"
        )
    else:
        progress.say(f"loss      {loss:.4f} at the start, a uniform guess has ln V = {uniform:.4f}")
