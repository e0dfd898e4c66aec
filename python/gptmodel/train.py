"""Training: a loop over explicit state. ``python -m gptmodel.train --shards data/`` is ``gptmodel train``.

A batch is a function of (seed, step), the learning rate of the step, and the rest is in ``TrainState``; so
what a run becomes depends on its configuration and data only, and a resumed run goes on bit by bit where it
was, on the same device with the same number of threads. How a batch is split into micro-batches changes
rounding and nothing else: each token weighs 1 / (tokens of the batch), wherever it lies. (With dropout, the
split also decides which mask falls where.)

Steps are counted by updates done: the record of step k holds the loss before update k.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from gptmodel import checkpoint, evaluate, initial, optim, runs
from gptmodel.device import Precision, compute_dtype, describe_device, pick_device, pick_precision
from gptmodel.errors import CheckpointError, InterruptedRunError, NonFiniteLossError
from gptmodel.metrics import Progress, RunLog, bits_per_byte, human, memory_bytes, peak_flops
from gptmodel.schedule import learning_rate_factor, warmup_steps
from gptmodel.windows import IGNORED

if TYPE_CHECKING:
    from gptmodel.config import Config
    from gptmodel.data import TrainingData
    from gptmodel.model import GPT

__all__ = ["TrainConfig", "TrainState", "train", "train_step"]


class TrainConfig(BaseModel):
    """How long, how much at once, on what, and what is shown meanwhile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment_name: str | None = Field(
        None, description="name of the run's folder; left out: the preset's name"
    )
    output: Path = Field(Path("runs"), description="folder of the runs")
    epochs: float | None = Field(None, gt=0, description="train for so many passes over the data")
    max_steps: int | None = Field(None, gt=0, description="train for so many steps")
    max_tokens: int | None = Field(None, gt=0, description="train for so many tokens")
    batch_size: int = Field(16, gt=0, description="windows in each step")
    micro_batch_size: int | None = Field(
        None,
        gt=0,
        description="windows on the device at once: less memory, same batch; left out: the whole batch",
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="decides weights, order of the data, dropout and samples"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="numbers of the activations; the weights are fp32 always"
    )
    compile: bool | None = Field(None, description="compile the model; left out: on CUDA only")
    log_every: int | None = Field(None, gt=0, description="record every N steps; left out: 1, on CUDA 10")
    eval_every: int | None = Field(
        None, gt=0, description="evaluate held-out text every N steps; left out: a tenth of the run"
    )
    eval_batches: int = Field(20, gt=0, description="batches of each evaluation")
    sample_every: int | None = Field(
        None, gt=0, description="write a sample every N steps; left out: as eval-every"
    )
    sample_prompt: str = Field(
        "", description="what samples begin with; left out: the first words of held-out text"
    )
    sample_tokens: int = Field(96, ge=0, description="tokens of a sample; 0 for none")
    init_from: str | None = Field(
        None, description="begin with the weights of a run, a checkpoint or a Hugging Face folder"
    )
    resize_vocab: bool = Field(False, description="let vocabulary and context differ from init-from's")
    freeze_layers: int = Field(0, ge=0, description="keep the first N blocks and the embeddings as they are")


@dataclass
class TrainState:
    """Everything that a step reads and changes."""

    config: Config
    run: Path
    model: GPT
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    data: TrainingData
    device: torch.device
    precision: Precision
    loss: Callable[..., Tensor] = field(repr=False)
    total_steps: int = 0
    step: int = 0
    seconds: float = 0.0
    evaluation_loss: float | None = None

    @property
    def tokens(self) -> int:
        """Tokens seen so far."""
        return self.step * self.tokens_per_step

    @property
    def tokens_per_step(self) -> int:
        return self.config.train.batch_size * self.model.config.context_length

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.step * self.config.train.batch_size / self.data.windows


@dataclass(frozen=True)
class StepResult:
    """What a step measured, still on the device: reading a number makes the host wait."""

    loss: Tensor
    gradient_norm: Tensor
    learning_rate: float
    target_bytes: Tensor | None


def train(config: Config, *, resume: Path | None = None) -> TrainState:
    """Train as ``config`` says and return the state at the end; ``resume`` is the run folder to go on with.

    Writes the run folder (configuration, metrics, samples, checkpoints). Raises ConfigError and DataError
    before anything is trained, NonFiniteLossError, and InterruptedRunError after a signal, when all is saved.

    >>> state = train(compose({"shards": "data/", "max_steps": 100}).config)  # doctest: +SKIP
    """
    state = start(config, resume)
    with (
        runs.Requests() as asked,
        state.data.batches(state.device, state.step, state.total_steps) as batches,
        RunLog(state.run, resumed_at=state.step) as log,
        Progress(state.total_steps, state.step) as progress,
    ):
        report(state, progress, log)
        clock = Clock(state)
        for inputs, targets in batches:
            result = train_step(state, inputs, targets)
            if is_due(state, state.config.train.log_every, 1 if state.device.type == "cpu" else 10):
                record(state, result, clock, log, progress, batches.waited)
            if is_due(state, state.config.train.eval_every, tenth(state)):
                with clock.paused():
                    run_evaluation(state, log, progress)
            if is_due(state, state.config.train.sample_every or state.config.train.eval_every, tenth(state)):
                with clock.paused():
                    write_sample(state, log, progress)
            if asked.stop or asked.save or save_is_due(state):
                asked.save = False
                with clock.paused():
                    save(state, result)
            if asked.stop:
                raise InterruptedRunError(
                    f"stopped after step {state.step} of {state.total_steps}, which is saved; "
                    f"go on with: {runs.resume_command(state.run)}"
                )
    return state


def train_step(state: TrainState, inputs: Tensor, targets: Tensor) -> StepResult:
    """One update from one batch of ids (B, T); the gradient is that of the mean over the batch's targets."""
    model, optimizer, scaler = state.model, state.optimizer, state.scaler
    factor = learning_rate_factor(state.config.schedule, state.step, state.total_steps)
    learning_rate = optim.set_learning_rate(optimizer, factor)
    counted = (targets != IGNORED).sum()
    rows = state.config.train.micro_batch_size or len(inputs)
    total = torch.zeros((), device=inputs.device)
    for start in range(0, len(inputs), rows):
        some_inputs, some_targets = inputs[start : start + rows], targets[start : start + rows]
        loss = state.loss(some_inputs, some_targets, ignore_index=IGNORED, reduction="sum") / counted
        torch.autograd.backward(scaler.scale(loss))
        total += loss.detach()
    scaler.unscale_(optimizer)
    norm = optim.clip_gradients(model, state.config.optim.grad_clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    state.step += 1
    lengths = state.data.token_bytes
    return StepResult(
        total, norm, learning_rate, None if lengths is None else lengths.to(targets.device)[targets].sum()
    )


# --- beginning ---


def start(config: Config, resume: Path | None) -> TrainState:
    """The state before the first step, or that of the newest sound checkpoint of ``resume``."""
    from gptmodel.config import dump_toml  # config composes this module's own settings
    from gptmodel.data import prepare

    settings = config.train
    place = pick_device(settings.device)
    precision = pick_precision(settings.precision, place)
    data = prepare(config, resume)
    config = config.with_model(**data.shape.model_dump())
    found = None
    if resume is not None:
        skipped: list[str] = []
        found = checkpoint.latest(resume, skipped)
        for reason in skipped:
            print(f"passed over a damaged checkpoint: {reason}", file=sys.stderr)
        runs.check_resumable(found.config(), config, found.state, data.identity)

    init_from = None if found else settings.init_from
    model = initial.build(data.shape, settings.seed, init_from, resize_vocab=settings.resize_vocab)
    model.to(place).train()
    model.compute_dtype = compute_dtype(precision)
    initial.freeze(model, settings.freeze_layers)
    compiled = place.type == "cuda" if settings.compile is None else settings.compile
    run = resume or runs.new(settings.output, settings.experiment_name or config.preset)
    state = TrainState(
        config=config,
        run=run,
        model=model,
        optimizer=optim.build_optimizer(model, config.optim, place),
        scaler=torch.amp.GradScaler(place.type, enabled=precision == "fp16"),
        data=data,
        device=place,
        precision=precision,
        loss=torch.compile(model.loss, dynamic=False) if compiled else model.loss,
        total_steps=total_steps(config, data.windows, data.shape.context_length),
    )
    torch.manual_seed(settings.seed)
    if found:
        restore(state, found)
        checkpoint.sweep(run)
    (run / checkpoint.CONFIG).write_text(dump_toml(config), encoding="utf-8")
    return state


def total_steps(config: Config, windows: int, context_length: int) -> int:
    """The steps of the run: the least of what is asked for; one pass over the data when nothing is."""
    settings = config.train
    asked = []
    if settings.max_steps is not None:
        asked.append(settings.max_steps)
    if settings.max_tokens is not None:
        asked.append(math.ceil(settings.max_tokens / (settings.batch_size * context_length)))
    if settings.epochs is not None or not asked:
        asked.append(math.ceil((settings.epochs or 1) * windows / settings.batch_size))
    return max(1, min(asked))


def restore(state: TrainState, found: checkpoint.Checkpoint) -> None:
    """Put the checkpoint into the state; what is not restored is a function of the step."""
    checkpoint.restore_model(state.model, found.model_tensors(), str(found.path))
    tensors = found.optimizer_tensors()
    checkpoint.restore_optimizer(state.model, state.optimizer, tensors)
    checkpoint.restore_random(tensors)
    if found.state.get("scaler"):
        state.scaler.load_state_dict(found.state["scaler"])
    state.step = found.step
    state.seconds = float(found.state.get("seconds", 0.0))
    state.evaluation_loss = found.evaluation_loss


def report(state: TrainState, progress: Progress, log: RunLog) -> None:
    """Say what is about to happen."""
    from gptmodel.attention import describe_attention
    from gptmodel.config import dump_toml

    shape, settings = state.model.config, state.config.train
    rows = settings.micro_batch_size or settings.batch_size
    before = torch.get_rng_state()
    kernel = describe_attention(
        state.device,
        state.model.compute_dtype or torch.float32,
        (rows, shape.heads, shape.context_length, shape.width_per_head),
        shape.attention,
        shape.dropout,
    )
    torch.set_rng_state(before)  # the probe may have drawn a dropout mask
    parameters = state.model.num_parameters()
    tokens = state.total_steps * state.tokens_per_step
    epochs = state.total_steps * settings.batch_size / state.data.windows
    split = f" in micro-batches of {rows}" if rows < settings.batch_size else ""
    compiled = "" if state.loss == state.model.loss else ", compiled (the first step takes longer)"
    lines = [
        f"run       {state.run}" + (f", resumed after step {state.step}" if state.step else ""),
        f"device    {describe_device(state.device)}, {state.precision}{compiled}; attention {kernel}",
        f"model     {human(parameters)} parameters: preset {state.config.preset}, {shape.layers} layers, "
        f"width {shape.width}, {shape.heads} heads, context {shape.context_length}, "
        f"vocabulary {shape.vocab_size:,}",
        *state.data.description,
        f"training  {state.total_steps:,} steps of {settings.batch_size} × {shape.context_length}{split} = "
        f"{human(tokens)} tokens, {tokens / parameters:.2g} a parameter, {epochs:.2g} epochs; "
        f"{state.config.schedule.schedule} after {warmup_steps(state.config.schedule, state.total_steps)} "
        "of warm-up",
    ]
    for line in lines:
        progress.say(line)
    if not state.step:
        log.text("config", dump_toml(state.config))


# --- along the way ---


def is_due(state: TrainState, every: int | None, otherwise: int) -> bool:
    return state.step % (every or otherwise) == 0 or state.step == state.total_steps


def tenth(state: TrainState) -> int:
    return max(1, state.total_steps // 10)


class Clock:
    """Seconds of training alone: evaluating, sampling and saving are left out of tokens a second."""

    def __init__(self, state: TrainState) -> None:
        self._state, self._since, self._step = state, time.perf_counter(), state.step

    def lap(self) -> tuple[int, float]:
        """Steps and seconds since the last lap."""
        now = time.perf_counter()
        steps, seconds = self._state.step - self._step, now - self._since
        self._state.seconds += seconds
        self._since, self._step = now, self._state.step
        return steps, seconds

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


def record(
    state: TrainState, result: StepResult, clock: Clock, log: RunLog, progress: Progress, waited: float
) -> None:
    """Read the step's numbers, check them, and write them down."""
    loss, norm = check_finite(state, result)
    if state.step == 1:
        compare_with_uniform(state, loss, progress)
    steps, seconds = clock.lap()
    tokens_per_second = steps * state.tokens_per_step / max(seconds, 1e-9)
    full, causal = flops_utilization(state, tokens_per_second)
    bits = (
        None
        if result.target_bytes is None
        else bits_per_byte(loss * state.tokens_per_step, int(result.target_bytes))
    )
    log.scalars(
        "train",
        state.step,
        {
            "loss": loss,
            "bits_per_byte": bits,
            "learning_rate": result.learning_rate,
            "gradient_norm": norm,
            "tokens": state.tokens,
            "epoch": state.epoch,
            "tokens_per_second": tokens_per_second,
            "mfu": full,
            "mfu_causal": causal,
            "data_wait": waited,
            "memory_bytes": memory_bytes(state.device),
            "seconds": state.seconds,
        },
    )
    shown = {"loss": f"{loss:.4f}"}
    if bits is not None:
        shown["bpb"] = f"{bits:.3f}"
    shown["tok/s"] = human(tokens_per_second)
    if full is not None:
        shown["MFU"] = f"{full:.1%}"
    progress.step(state.step, shown)


def flops_utilization(state: TrainState, tokens_per_second: float) -> tuple[float | None, float | None]:
    """MFU with attention in full and causal; (None, None) where the device's peak is not known."""
    if state.device.type != "cuda":
        return None, None
    peak = peak_flops(describe_device(state.device), state.precision)
    if peak is None:
        return None, None
    full, causal = (state.model.flops_per_token(causal=causal) for causal in (False, True))
    return tokens_per_second * full / peak, tokens_per_second * causal / peak


def check_finite(state: TrainState, result: StepResult) -> tuple[float, float]:
    """The loss and the norm of the gradient as numbers. Raises NonFiniteLossError.

    In fp16 an infinite gradient is no fault: the scaler has skipped that update and lowered its scale.
    """
    loss, norm = float(result.loss), float(result.gradient_norm)
    if not math.isfinite(loss) or not (math.isfinite(norm) or state.precision == "fp16"):
        try:
            good = f"the last good checkpoint is {checkpoint.latest(state.run).path}"
        except CheckpointError:
            good = "no checkpoint was saved yet"
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        raise NonFiniteLossError(
            f"{what} at step {state.step}; {good}; try a lower --learning-rate or a longer --warmup-steps"
        )
    return loss, norm


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


def run_evaluation(state: TrainState, log: RunLog, progress: Progress) -> None:
    """Measure held-out text and note it."""
    if state.data.evaluation is None:
        return
    settings = state.config.train
    rows = min(settings.micro_batch_size or settings.batch_size, settings.batch_size)
    found = evaluate.measure(
        state.model,
        state.data.evaluation(rows),
        settings.eval_batches * settings.batch_size // rows,
        token_bytes=state.data.token_bytes,
    )
    state.evaluation_loss = found.loss
    log.scalars(
        "evaluation",
        state.step,
        {
            "loss": found.loss,
            "perplexity": found.perplexity,
            "bits_per_byte": found.bits_per_byte,
            "evaluated_tokens": found.tokens,
            "tokens": state.tokens,
            "epoch": state.epoch,
        },
    )
    bits = "" if found.bits_per_byte is None else f", {found.bits_per_byte:.4f} bits per byte"
    progress.say(f"step {state.step}: held-out loss {found.loss:.4f}{bits} ({found.tokens:,} tokens)")


def write_sample(state: TrainState, log: RunLog, progress: Progress) -> None:
    """Let the model write; greedy it is not, and the seed makes it the same again."""
    settings, tokenizer = state.config.train, state.data.tokenizer
    if tokenizer is None or settings.sample_tokens == 0:
        return
    prompt = list(tokenizer.encode(settings.sample_prompt)) if settings.sample_prompt else state.data.prompt
    with evaluate.evaluating(state.model):
        ids = state.model.generate(
            prompt, settings.sample_tokens, temperature=0.8, top_p=0.95, seed=settings.seed + state.step
        )
    text = tokenizer.decode(ids)
    log.sample(state.step, text)
    progress.say("\n".join(f"    | {line}" for line in text.splitlines()))


def save_is_due(state: TrainState) -> bool:
    return (
        is_due(state, state.config.checkpoint.save_every, tenth(state)) or finished_epoch(state) is not None
    )


def finished_epoch(state: TrainState) -> int | None:
    """The epoch that the last step completed, if it is one to save."""
    every = state.config.checkpoint.save_every_epochs
    if every is None:
        return None
    batch = state.config.train.batch_size
    before, now = ((step * batch) // state.data.windows for step in (state.step - 1, state.step))
    due = now // every * every
    return due if due > before else None


def save(state: TrainState, result: StepResult) -> Path:
    """A checkpoint of the state as it is; never one with a loss that is not a number."""
    from gptmodel.config import dump_toml

    check_finite(state, result)
    epoch = finished_epoch(state)
    name = state.config.train.experiment_name or state.config.preset
    path = checkpoint.save(
        state.run,
        step=state.step,
        model=state.model,
        optimizer=state.optimizer,
        state={
            "samples": state.step * state.config.train.batch_size,
            "tokens": state.tokens,
            "epoch": state.epoch,
            "seconds": state.seconds,
            "evaluation_loss": state.evaluation_loss,
            "scaler": state.scaler.state_dict(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "device": describe_device(state.device),
            **state.data.identity,
        },
        config=dump_toml(state.config),
        tokenizer=state.data.tokenizer,
        link=None if epoch is None else f"{name}_e{epoch}",
    )
    checkpoint.prune(state.run, state.config.checkpoint.keep)
    return path


if __name__ == "__main__":
    from gptmodel.cli import train_main

    train_main()
