"""The loop: step, record, save, look. ``python -m gptmodel.train --shards data/`` is ``gptmodel train``.

The step is `gptmodel.training.step`, what it reads and changes `gptmodel.training.state`. Steps are counted
by updates done: the record of step k holds the loss before update k.

A checkpoint is saved before the held-out text is evaluated and a sample written, so that neither can lose the
interval; its held-out loss is added when it is measured. A run that was stopped in between measures it when
it is resumed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gptmodel import checkpoint, evaluate
from gptmodel.checkpoint import Snapshot, Writer, runs
from gptmodel.data import IGNORE_INDEX
from gptmodel.data.tokenize import decode_known
from gptmodel.device import describe_device
from gptmodel.errors import CheckpointError, ConfigError, InterruptedRunError, NonFiniteLossError, RecordError
from gptmodel.training import distributed
from gptmodel.training.config import Config, dump_toml
from gptmodel.training.cuda_graph import replaying
from gptmodel.training.distributed import Ranks
from gptmodel.training.divided import local
from gptmodel.training.log import METRICS, Progress, RunLog
from gptmodel.training.loggers import Logger, TensorBoard, WeightsAndBiases
from gptmodel.training.optim.registry import optimizer_named
from gptmodel.training.parallel import is_sharded
from gptmodel.training.report import Clock, compare_with_uniform, record, report
from gptmodel.training.restore import model_tensors, optimizer_tensors, random_tensors
from gptmodel.training.signals import Requests
from gptmodel.training.silent import SilentLog, SilentProgress, SilentWriter
from gptmodel.training.state import TrainState, start
from gptmodel.training.step import StepResult, train_step

__all__ = ["train"]


def train(config: Config, *, resume: Path | None = None) -> TrainState:
    """Train as ``config`` says and return the state at the end; ``resume`` is the run folder to go on with.

    Writes the run folder (configuration, metrics, samples, checkpoints). Raises ConfigError and DataError
    before anything is trained, LockedError when another process works in the run's folder,
    NonFiniteLossError, InterruptedRunError after a signal, when all is saved, and LostRankError when another
    of the processes that torchrun started has died.

    >>> state = train(compose({"shards": "data/", "max_steps": 100}).config)  # doctest: +SKIP
    """
    if not isinstance(config, Config):
        raise ConfigError(
            f"train takes a Config, not {type(config).__name__}: train(compose({{…}}).config), with "
            "gptmodel.compose"
        )
    optimizer_named(config.optim.optimizer)
    with (
        distributed.join() as ranks,
        start(config, resume, ranks) as state,
        ranks.watching(f"go on with: {resume_command(state)}"),
        saying_what_is_saved(state),
        replaying(state),
        Requests(ranks) as requests,
        state.data.batches(
            state.device, state.step, state.total_steps, ranks.rows(state.config.train.batch_size)
        ) as batches,
        open_log(state) if ranks.first else SilentLog() as log,
        Progress(state.total_steps, state.step) if ranks.first else SilentProgress() as progress,
        open_writer(state) if ranks.first else SilentWriter() as writer,
    ):
        report(state, progress, log)
        if state.step:
            catch_up(state, log, progress, writer, requests)
        clock = Clock(state)
        for batch in batches:
            clock.waited += batches.waited
            result = train_step(state, *batch)
            state.evaluation_loss = None
            if state.step == 1:
                compare_with_uniform(state, float(result.loss), progress)
            if is_due(state, state.config.train.log_every or (1 if state.device.type == "cpu" else 10)):
                check_finite(state, result, writer)
                record(state, result, clock, log, progress)
            with clock.paused(), one_message(state, log):
                writer.check()
                if log.failure:
                    requests.ask_to_stop()
                requests.agree()
                saved = requests.save or requests.stop or save_is_due(state)
                if saved:
                    requests.save = False
                    save(state, result, writer)
                look(state, log, progress, writer if saved else None, requests)
                if requests.stop:
                    stop(state, result, log, writer, saved)
    if log.failure:
        raise RecordError(f"{log.failure}; all {state.total_steps:,} steps are done and saved")
    return state


def open_log(state: TrainState) -> RunLog:
    """The record of the run, and the loggers that the configuration asks for."""
    project, step = state.config.train.wandb, state.step
    loggers: list[Logger] = [TensorBoard(state.run, step)]
    if project is not None:
        loggers.append(WeightsAndBiases(state.run, project, state.config.flat()))
    return RunLog(state.run, resumed_at=step, loggers=loggers)


def open_writer(state: TrainState) -> Writer:
    """The writer of the run's checkpoints, each of which is on the disk after the record of its steps."""
    return Writer(state.run, state.config.checkpoint.keep, state.run / METRICS)


@contextmanager
def saying_what_is_saved(state: TrainState) -> Iterator[None]:
    """Let a KeyboardInterrupt, of a second Ctrl-C, say what the first steps have left, if they have."""
    try:
        yield
    except KeyboardInterrupt:
        saved = next(checkpoint.complete(state.run), None)
        if saved is None:
            raise
        raise KeyboardInterrupt(f"step {saved.step} is saved; go on with: {resume_command(state)}") from None


@contextmanager
def one_message(state: TrainState, log: RunLog) -> Iterator[None]:
    """Tell of a checkpoint that could not be written and of a record that could not, in one error."""
    try:
        yield
    except CheckpointError as error:
        if not log.failure:
            raise
        advice = f"make room, then go on with: {resume_command(state)}"
        raise RecordError(f"{log.failure}, and {error}; {advice}") from error


def stop(state: TrainState, result: StepResult, log: RunLog, writer: Writer, saved: bool) -> None:
    """Save, unless that is done, and raise what says why the run ends and how it goes on."""
    if not saved:
        save(state, result, writer)
    writer.join()
    advice = f"go on with: {resume_command(state)}"
    if log.failure:
        raise RecordError(f"{log.failure}; step {state.step} is saved; make room, then {advice}")
    raise InterruptedRunError(
        f"stopped after step {state.step} of {state.total_steps}, which is saved; {advice}"
    )


def resume_command(state: TrainState) -> str:
    return state.ranks.command(runs.resume_command(state.run))


def is_due(state: TrainState, every: int) -> bool:
    return state.step % every == 0 or state.step == state.total_steps


# --- looking at the model ---


def look(
    state: TrainState, log: RunLog, progress: Progress, writer: Writer | None, requests: Requests
) -> None:
    """Evaluate and write a sample where they are due; broken off when the run is asked to stop.

    ``writer`` has the checkpoint of this step, or is None where none was saved.
    """
    settings = state.config.train
    if is_due(state, settings.evaluation_distance(state.total_steps)) and not requests.stop:
        run_evaluation(state, log, progress, requests)
        if writer is not None and state.evaluation_loss is not None:
            writer.record_evaluation(state.step, state.evaluation_loss)
    if is_due(state, settings.sample_distance(state.total_steps)) and not requests.stop:
        write_sample(state, log, progress)
        requests.agree()


def catch_up(state: TrainState, log: RunLog, progress: Progress, writer: Writer, requests: Requests) -> None:
    """Do what was due at the step of the checkpoint and was not done when the run ended."""
    if state.evaluation_loss is None:
        measured = state.ranks.from_first(lambda: log.evaluation_loss(state.step))
        if measured is not None:  # and the run ended before the checkpoint knew
            state.evaluation_loss = measured
            writer.record_evaluation(state.step, measured)
        else:
            look(state, log, progress, writer, requests)


def run_evaluation(state: TrainState, log: RunLog, progress: Progress, requests: Requests) -> None:
    """Measure held-out text and note it, unless the run is asked to stop meanwhile."""
    if state.data.evaluation is None:
        return
    settings = state.config.train
    progress.doing("evaluating")
    most = settings.evaluated_batches(state.total_steps)
    batches = itertools.islice(state.data.evaluation(settings.batch_size), most)
    found = evaluate.measure(
        state.model,
        itertools.takewhile(
            lambda _: not requests.agree().stop,
            micro_batches(batches, state.ranks, settings.rows_at_once(settings.batch_size)),
        ),
        token_bytes=state.token_bytes,
        total=state.ranks.sum,
    )
    if requests.stop:
        return
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


def micro_batches(
    batches: Iterable[tuple[Tensor, Tensor]], ranks: Ranks, most: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The share of this rank in each batch, at most ``most`` rows at once; the same number on every rank.

    Rows that are wanting are filled up with targets that do not count.
    """
    for inputs, targets in batches:
        rows = ranks.rows(len(inputs) + -len(inputs) % ranks.size)
        missing = (0, 0, 0, rows.stop - rows.start - len(inputs[rows]))
        some_inputs = F.pad(inputs[rows], missing)
        some_targets = F.pad(targets[rows], missing, value=IGNORE_INDEX)
        for at in range(0, len(some_inputs), most or len(some_inputs)):
            micro = slice(at, at + (most or len(some_inputs)))
            yield some_inputs[micro], some_targets[micro]


def write_sample(state: TrainState, log: RunLog, progress: Progress) -> None:
    """Let the model write; greedy it is not, and the seed makes it the same again."""
    settings, tokenizer = state.config.train, state.data.tokenizer
    if tokenizer is None or settings.sample_tokens == 0:
        return
    prompt = state.data.prompt
    if settings.sample_prompt:
        prompt = list(tokenizer.encode(settings.sample_prompt, allowed_special="all"))
    with evaluate.evaluating(state.model):
        ids = state.model.generate(
            prompt, settings.sample_tokens, temperature=0.8, top_p=0.95, seed=settings.seed + state.step
        )
    text = decode_known(tokenizer, ids)
    log.sample(state.step, text)
    progress.say("\n".join(f"    | {line}" for line in text.splitlines()))


# --- saving ---


def save_is_due(state: TrainState) -> bool:
    tenth = max(1, state.total_steps // 10)
    return is_due(state, state.config.checkpoint.save_every or tenth) or finished_epoch(state) is not None


def finished_epoch(state: TrainState) -> int | None:
    """The epoch that the last step completed, if it is one to save."""
    every = state.config.checkpoint.save_every_epochs
    if every is None:
        return None
    batch = state.config.train.batch_size
    before, now = ((step * batch) // state.data.windows for step in (state.step - 1, state.step))
    due = now // every * every
    return due if due > before else None


def save(state: TrainState, result: StepResult, writer: Writer) -> None:
    """Hand the state as it is to the writer; never one with a number that is not finite."""
    check_finite(state, result, writer)
    check_weights(state, writer)
    if state.ranks.first or is_sharded(state.model):
        writer.save(snapshot(state))


def snapshot(state: TrainState) -> Snapshot:
    """The state as a checkpoint will hold it, in memory of its own."""
    epoch = finished_epoch(state)
    name = state.config.train.experiment_name or state.config.preset
    return Snapshot(
        step=state.step,
        model=model_tensors(state.model),
        optimizer=optimizer_tensors(state.model, state.optimizer) | random_tensors(state.device),
        model_config=state.model.config,
        config=dump_toml(state.config),
        state={
            "samples": state.step * state.config.train.batch_size,
            "tokens": state.tokens,
            "epoch": state.epoch,
            "seconds": state.seconds,
            "evaluation_loss": state.evaluation_loss,
            "scaler": state.scaler.state_dict(),
            "precision": state.precision,
            "ranks": state.ranks.size,
            "total_steps": state.total_steps,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "device": describe_device(state.device),
            **state.data.identity,
        },
        tokenizer=state.data.tokenizer,
        link=None if epoch is None else f"{name}_e{epoch}",
    )


def check_finite(state: TrainState, result: StepResult, writer: Writer) -> None:
    """Raise NonFiniteLossError when the loss or the norm of the gradient is no number.

    In fp16 an infinite gradient is no fault: the scaler has skipped that update and lowered its scale.
    """
    loss, norm = float(result.loss), float(result.gradient_norm)
    if not math.isfinite(loss):
        stop_training(state, f"the loss is {loss}", writer)
    if not math.isfinite(norm) and state.precision != "fp16":
        stop_training(state, f"the gradient's norm is {norm}", writer)


def check_weights(state: TrainState, writer: Writer) -> None:
    """Raise NonFiniteLossError when a weight or the optimizer's state is not a finite number."""
    tensors = [*map(local, state.model.parameters())]
    tensors += [
        local(t) for kept in state.optimizer.state.values() for t in kept.values() if isinstance(t, Tensor)
    ]
    # A sum is finite only where every number in it is; one number comes from the device.
    sums = torch.stack([t.detach().sum().float().to(state.device) for t in tensors])
    broken = not bool(sums.isfinite().all()) and not all(bool(t.isfinite().all()) for t in tensors)
    if any(state.ranks.any(broken)):
        stop_training(state, "weights or the optimizer's state are no longer finite", writer)


def stop_training(state: TrainState, what: str, writer: Writer) -> None:
    writer.join()
    try:
        good = f"the last good checkpoint is {checkpoint.latest(state.run).path}"
    except CheckpointError:
        good = "no checkpoint was saved yet"
    raise NonFiniteLossError(
        f"{what} at step {state.step}; {good}; try a lower --learning-rate or a longer --warmup-steps"
    )
