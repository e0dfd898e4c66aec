"""Tensors of a state into a checkpoint and back, and what may differ when a run is resumed.

Nothing is filled in silently: every tensor that the model and the optimizer have must be in the checkpoint,
with its shape and dtype, and nothing else may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gptmodel.checkpoint import Checkpoint
from gptmodel.checkpoint.format import check_same
from gptmodel.errors import CheckpointError
from gptmodel.training.config import Config, parse
from gptmodel.training.divided import fill
from gptmodel.training.parallel import fill_model, is_sharded, whole_model, whole_optimizer
from gptmodel.training.schedule import learning_rate_factor

__all__ = [
    "check_resumable",
    "model_tensors",
    "optimizer_state",
    "optimizer_tensors",
    "random_tensors",
    "restore_model",
    "restore_optimizer",
    "restore_random",
]

MAY_CHANGE = frozenset(
    f"{table}.{name}"
    for table, names in {
        "train": (
            "epochs max_steps max_tokens micro_batch_size activation_checkpointing cpu_products device "
            "precision compile cuda_graph output experiment_name log_every eval_every eval_batches "
            "sample_every sample_prompt sample_tokens shard_model threads wandb"
        ),
        "data": "num_workers shards train_data eval_data tokenizer vocab",
        "model": "attention",
        "checkpoint": "save_every save_every_epochs keep",
    }.items()
    for name in names.split()
)
"""Settings that do not decide which weights come out, or that are compared by what they mean: the data by its
fingerprint, the length of the run by the learning rates that it gave, the precision by what was chosen.
"""


def check_resumable(
    found: Checkpoint, config: Config, identity: Mapping[str, Any], precision: str, total_steps: int
) -> None:
    """Refuse to go on with other settings, another tokenizer or other data.

    ``identity`` holds the fingerprints of tokenizer and data now. Raises CheckpointError naming the first
    difference.
    """
    previous = parse(found.text("config.toml"), str(found.path / "config.toml"))
    before, after = previous.flat(), config.flat()
    for key in before:
        if key not in MAY_CHANGE and before[key] != after.get(key):
            _refuse(key, before[key], after.get(key))
    had = found.state.get("precision")
    if had != precision and (had is not None or previous.train.precision != config.train.precision):
        _refuse("train.precision", had or previous.train.precision, precision)
    for key in ("tokenizer", "data"):
        if found.state.get(key) != identity.get(key):
            raise CheckpointError(
                f"the run was trained with another {'tokenizer' if key == 'tokenizer' else 'text or shards'} "
                f"({key} {_short(found.state.get(key))}, now {_short(identity.get(key))}): "
                "resume needs the same"
            )
    _check_schedule(found, config, total_steps)


def _check_schedule(found: Checkpoint, config: Config, total_steps: int) -> None:
    """A run may be made longer or shorter where that leaves the learning rates so far as they were."""
    had = found.state.get("total_steps")
    if had is None or had == total_steps:
        return
    schedule = config.schedule
    ends = 10_000  # schedules are made of few pieces: two that differ do so at an end of what was done
    for step in {*range(min(found.step, ends)), *range(max(0, found.step - ends), found.step)}:
        if learning_rate_factor(schedule, step, had) != learning_rate_factor(schedule, step, total_steps):
            raise CheckpointError(
                f"the run was started for {had:,} steps; for {total_steps:,}, the schedule "
                f"{schedule.schedule} would have had another learning rate at step {step + 1}, which is "
                f"done. Resume it for {had:,} steps, or start a new run from its weights with --init-from; "
                "a run can be made longer with --schedule constant or wsd and fixed --warmup-steps"
            )


def _refuse(key: str, was: Any, now: Any) -> None:
    raise CheckpointError(
        f"the run was started with {key} = {was!r}, now it is {now!r}: "
        "resume it with the old value, or start a new run from its weights with --init-from"
    )


def _short(fingerprint: Any) -> str:
    return str(fingerprint)[:12]


# --- tensors ---


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The weights by name, on the CPU, in memory of their own; divided ones on the first rank only."""
    if is_sharded(model):
        return whole_model(model)
    return {name: _copy(tensor) for name, tensor in model.state_dict().items()}


def restore_model(model: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Fill ``model``. Raises CheckpointError naming what is missing, surplus or of another shape."""
    check_same(model.state_dict(), tensors, origin, "model")
    if is_sharded(model):
        fill_model(model, dict(tensors))
    else:
        model.load_state_dict(tensors)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter name, ``exp_avg.blocks.0…``, on the CPU, in memory of its own."""
    if is_sharded(model):
        return whole_optimizer(model, optimizer)
    return {name: _copy(tensor) for name, tensor in optimizer_state(model, optimizer).items()}


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], origin: str
) -> None:
    """Fill the state of a fresh ``optimizer``, of whatever kind.

    What it must hold is what a step makes: one is done with a gradient and a learning rate of zero, before
    the weights are restored. Raises CheckpointError naming what is missing, surplus, or of another shape or
    dtype.
    """
    _make_state(optimizer)
    expected = optimizer_state(model, optimizer)
    stored = {name: tensor for name, tensor in tensors.items() if not name.startswith("random.")}
    check_same(expected, stored, origin, "optimizer")
    for name, tensor in expected.items():
        fill(tensor, stored[name])


def _make_state(optimizer: torch.optim.Optimizer) -> None:
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter name, ``exp_avg.blocks.0…``, in its own memory."""
    return {
        f"{key}.{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def random_tensors(device: torch.device) -> dict[str, Tensor]:
    """The state of the random generators that training draws from, as bytes."""
    states = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device).cpu()
    return states


def restore_random(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the generators. Raises CheckpointError when the CPU's is missing or is no state.

    A run that goes on on another kind of device keeps the generator of the seed there.
    """
    if "random.cpu" not in tensors:
        raise CheckpointError("the checkpoint has no state of the random generator (random.cpu)")
    try:
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], device)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"the checkpoint's random state is none: {error}") from None


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
