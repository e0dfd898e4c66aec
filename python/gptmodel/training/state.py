"""The state of a run: everything that a step reads and changes, and how it is made.

What a run becomes depends on its configuration and data only. A batch is a function of (seed, step), the
learning rate of the step, and the rest is here; so a resumed run goes on bit by bit where it was, on the same
device with the same number of threads.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gptmodel import checkpoint, files, load
from gptmodel.checkpoint import runs
from gptmodel.data import TrainingData, prepare
from gptmodel.device import (
    Precision,
    compute_dtype,
    keep_freed_memory,
    pick_precision,
    set_product_precision,
    set_threads,
)
from gptmodel.errors import CheckpointError, ConfigError, DataError
from gptmodel.load import GPT
from gptmodel.model import ModelConfig
from gptmodel.training.compile import compiling_pays, is_plain
from gptmodel.training.config import Config, TrainConfig, dump_toml, parse
from gptmodel.training.distributed import Ranks
from gptmodel.training.fit import check_memory, fitting_rows
from gptmodel.training.graphable import check_graphable
from gptmodel.training.optim import build_optimizer
from gptmodel.training.parallel import Parallel, place
from gptmodel.training.products import choose_products, using
from gptmodel.training.restore import check_resumable, restore_model, restore_optimizer, restore_random

if TYPE_CHECKING:
    from gptbpe import Tokenizer

__all__ = ["TrainState", "build_model", "choose_model_config", "start", "stored_tokenizer"]


@dataclass
class TrainState:
    """Everything that a step reads and changes.

    ``loss_fn`` is ``model.loss``, compiled or not, which ``compiler`` says in words; ``parallel`` computes it
    for this one of ``ranks``. ``token_bytes`` (vocabulary,) lies on the device.
    ``replay`` does what `gptmodel.training.step.update` does, as one CUDA graph; None where there is none.
    ``evaluation_loss`` is the held-out loss of the weights as they are; None until they are measured.
    """

    config: Config
    run: Path
    model: GPT
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    data: TrainingData
    device: torch.device
    precision: Precision
    loss_fn: Callable[..., Tensor] = field(repr=False)
    compiler: str
    token_bytes: Tensor | None = field(repr=False)
    ranks: Ranks
    parallel: Parallel = field(repr=False)
    total_steps: int = 0
    step: int = 0
    seconds: float = 0.0
    evaluation_loss: float | None = None
    replay: Callable[[Tensor, Tensor, Tensor | None], Any] | None = field(default=None, repr=False)

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """The model's, in its order: to walk its modules at every step takes 0.1 ms."""
        return list(self.model.parameters())

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


@contextmanager
def start(config: Config, resume: Path | None, ranks: Ranks) -> Iterator[TrainState]:
    """The state before the first step, or that of the newest sound checkpoint of ``resume``.

    The run's folder is locked meanwhile: a second process that resumes it gets a LockedError. Of several
    ranks the first makes and locks it.
    """
    with ExitStack() as held:
        found = None
        if resume is not None:
            newest = ranks.from_first(lambda: str(_locked_newest(resume, held)))
            found = checkpoint.read(newest)
        settings = config.train if found is None else _as_measured(config, found)
        config = config.model_copy(update={"train": settings})
        ranks.rows(settings.batch_size)  # which raises when it cannot be divided
        device = ranks.device(settings.device)
        set_threads(settings.threads)
        precision = pick_precision(settings.precision, device)
        if settings.shard_model and precision == "fp16":
            raise ConfigError("--shard-model trains in bf16 or fp32: give --precision")
        if settings.cuda_graph:
            check_graphable(config, device, precision, ranks)
        with ranks.first_of_machine_first("data"), ranks.speaking():
            data = prepare(
                config.data,
                context_length=config.model["context_length"],
                batch_size=settings.batch_size,
                seed=settings.seed,
                stored_tokenizer=lambda: stored_tokenizer(config, found),
            )
        model_config = choose_model_config(config, data)
        config = config.with_model(**model_config.model_dump())
        total_steps = count_steps(config, data.windows)
        if found is not None:
            check_resumable(found, config, data.identity, precision, total_steps)
        check_memory(model_config, device)
        model = build_model(config, model_config, resumed=found is not None)
        model.compute_dtype = compute_dtype(precision)
        model.checkpoint_blocks = settings.activation_checkpointing
        set_product_precision(precision, device)
        if device.type == "cpu":
            keep_freed_memory()
        if settings.micro_batch_size == "auto":
            settings = _fitting(model.to(device).train(), settings, ranks, data.masked)
        total_tokens = total_steps * settings.batch_size * model_config.context_length
        compiled = settings.compile
        if compiled is None:
            plain = is_plain(config, ranks.size)
            compiled = compiling_pays(model, device, total_steps, total_tokens, plain=plain)
        if device.type == "cpu" and precision == "fp32":
            settings = _multiplying(model_config, settings, ranks, compiled)
        held.enter_context(using(settings.cpu_products, compiled=compiled and device.type == "cpu"))
        config = config.model_copy(update={"train": settings})
        with ranks.speaking():
            parallel = place(
                model,
                device,
                ranks,
                shard=settings.shard_model,
                compiled=compiled,
                rows=settings.rows_at_once(settings.batch_size // ranks.size),
                masked=data.masked,
            )
        run = resume or Path(ranks.from_first(lambda: str(_locked_new(config, held))))
        state = TrainState(
            config=config,
            run=run,
            model=model,
            optimizer=build_optimizer(model, config.optim, device),
            scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
            data=data,
            device=device,
            precision=precision,
            loss_fn=parallel.loss_fn,
            compiler=parallel.compiler,
            token_bytes=None if data.token_bytes is None else data.token_bytes.to(device),
            ranks=ranks,
            parallel=parallel,
            total_steps=total_steps,
        )
        torch.manual_seed(settings.seed)
        if found is not None:
            _restore(state, found)
        if ranks.first:
            checkpoint.sweep(run)
            files.write_text(run / "config.toml", dump_toml(config))
        yield state


def _as_measured(config: Config, found: checkpoint.Checkpoint) -> TrainConfig:
    """The settings of a resumed run, with what was measured when it began in place of "auto"."""
    before = parse(found.text("config.toml"), str(found.path / "config.toml")).train
    names = ("micro_batch_size", "cpu_products")
    return config.train.model_copy(
        update={n: getattr(before, n) for n in names if getattr(config.train, n) == "auto"}
    )


def _multiplying(
    model_config: ModelConfig, settings: TrainConfig, ranks: Ranks, compiled: bool
) -> TrainConfig:
    """``settings`` with the matrix products that every rank uses."""
    rows = settings.rows_at_once(settings.batch_size // ranks.size)
    wanted = settings.cpu_products
    chosen, why = ranks.from_first(lambda: choose_products(model_config, rows, wanted, compiled=compiled))
    if ranks.first and {"onednn", "amx"} & {chosen, wanted}:
        names = {"mkl": "MKL", "onednn": "oneDNN", "amx": "AMX"}
        print(f"matrix products by {names[chosen]}: {why}", file=sys.stderr)
    return settings.model_copy(update={"cpu_products": chosen})


def _fitting(model: GPT, settings: TrainConfig, ranks: Ranks, masked: bool) -> TrainConfig:
    """``settings`` with as many windows at once as fit, the same number on every rank."""
    if settings.shard_model:
        raise ConfigError(
            "--micro-batch-size auto measures a whole model, and --shard-model divides it: give a number"
        )
    rows, why = ranks.from_first(
        lambda: fitting_rows(model, settings.batch_size // ranks.size, masked=masked)
    )
    if ranks.first:
        print(f"micro-batch of {rows} windows: {why}", file=sys.stderr)
    return settings.model_copy(update={"micro_batch_size": rows})


def choose_model_config(config: Config, data: TrainingData) -> ModelConfig:
    """The architecture, with the tokenizer's vocabulary where none is given.

    Raises DataError when the tokenizer has more ids than the model.
    """
    model_config = config.build_model_config(data.vocab_size)
    if model_config.vocab_size < data.vocab_size:
        raise DataError(
            f"the tokenizer of {data.origin} has {data.vocab_size:,} tokens, the model a vocabulary of "
            f"{model_config.vocab_size:,}: leave --vocab-size out or raise it"
        )
    return model_config


def build_model(config: Config, model_config: ModelConfig, *, resumed: bool = False) -> GPT:
    """The model to train, on the CPU: from the seed or from ``init_from``, first layers frozen as asked."""
    settings = config.train
    model = load.build(
        model_config,
        settings.seed,
        None if resumed else settings.init_from,
        resize_vocab=settings.resize_vocab,
    )
    _freeze(model, settings.freeze_layers)
    return model


def count_steps(config: Config, windows: int) -> int:
    """The steps of the run: the least of what is asked for; one pass over the data when nothing is."""
    settings = config.train
    lengths = []
    if settings.max_steps is not None:
        lengths.append(settings.max_steps)
    if settings.max_tokens is not None:
        tokens_per_step = settings.batch_size * config.model["context_length"]
        lengths.append(math.ceil(settings.max_tokens / tokens_per_step))
    if settings.epochs is not None or not lengths:
        lengths.append(math.ceil((settings.epochs or 1) * windows / settings.batch_size))
    return max(1, min(lengths))


def _locked_new(config: Config, held: ExitStack) -> Path:
    """The folder of a new run, locked as long as ``held`` is open."""
    run = runs.new(config.train.output, config.train.experiment_name or config.preset)
    held.enter_context(files.Lock(run))
    return run


def _locked_newest(run: Path, held: ExitStack) -> Path:
    """The newest sound checkpoint of ``run``, which is locked as long as ``held`` is open."""
    held.enter_context(files.Lock(run))
    skipped: list[str] = []
    found = checkpoint.latest(run, skipped)
    for reason in skipped:
        print(f"passed over a damaged checkpoint: {reason}", file=sys.stderr)
    return found.path


def stored_tokenizer(config: Config, found: checkpoint.Checkpoint | None = None) -> Tokenizer | None:
    """The tokenizer of the run to resume, or of the weights to begin with, when none is named."""
    init_from = config.train.init_from
    if found is not None:
        return found.require_tokenizer()
    if init_from is None or config.data.tokenizer is not None:
        return None
    tokenizer = load.stored_tokenizer(init_from)
    if tokenizer is None:
        raise DataError(f"--init-from {init_from} has no tokenizer.json: give --tokenizer (for GPT-2, gpt2)")
    return tokenizer


def _freeze(model: GPT, layers: int) -> None:
    """Keep the first ``layers`` blocks, and the embeddings under them, as they are. 0 freezes nothing."""
    if layers > len(model.blocks):
        raise ConfigError(f"--freeze-layers {layers}: the model has {len(model.blocks)} layers")
    if layers == 0:
        return
    frozen = [model.token_embedding, *model.blocks[:layers]]
    if isinstance(model.positions, nn.Embedding):
        frozen.append(model.positions)
    for module in frozen:
        module.requires_grad_(False)


def _restore(state: TrainState, found: checkpoint.Checkpoint) -> None:
    """Put the checkpoint into the state; what is not restored is a function of the step."""
    tensors = found.optimizer_tensors()
    restore_optimizer(state.model, state.optimizer, tensors, str(found.path))
    restore_model(state.model, found.model_tensors(), str(found.path))
    restore_random(tensors, state.device)
    if found.state.get("scaler"):
        try:
            state.scaler.load_state_dict(found.state["scaler"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{found.path} lacks a part of the state of the scaler: {error}") from None
    had, now = found.state.get("threads"), torch.get_num_threads()
    if had not in (None, now) and state.device.type == "cpu" and state.ranks.first:
        print(
            f"the run had {had} threads, now it has {now}: it goes on with the same losses up to rounding; "
            f"OMP_NUM_THREADS={had} gives the same bits",
            file=sys.stderr,
        )
    state.step = found.step
    state.seconds = float(found.state.get("seconds", 0.0))
    state.evaluation_loss = found.evaluation_loss
