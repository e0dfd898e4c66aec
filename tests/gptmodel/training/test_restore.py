"""Nothing is filled in silently: what a checkpoint lacks, and what a resumed run may change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import loop
import pytest
import torch
from torch import Tensor

from gptmodel import checkpoint
from gptmodel.errors import CheckpointError
from gptmodel.load import GPT
from gptmodel.model import ModelConfig
from gptmodel.train import train
from gptmodel.training.optim import OptimConfig, build_optimizer
from gptmodel.training.restore import optimizer_tensors, restore_optimizer

SHAPE = ModelConfig(vocab_size=13, context_length=8, width=8, heads=2, layers=1)
CPU = torch.device("cpu")
Tensors = dict[str, Tensor]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))


def stepped() -> tuple[GPT, torch.optim.Optimizer]:
    model = GPT(SHAPE)
    optimizer = build_optimizer(model, OptimConfig(), CPU)
    ids = torch.arange(8)[None]
    model.loss(ids, ids.roll(-1, 1)).backward()
    optimizer.step()
    return model, optimizer


KEY = "exp_avg.blocks.0.attention.qkv.weight"
DAMAGES: list[tuple[str, Callable[[Tensors], Any]]] = [
    (rf"{KEY} is missing", lambda tensors: tensors.pop(KEY)),
    (r"exp_avg_other is unknown", lambda tensors: tensors.update(exp_avg_other=torch.zeros(1))),
    (rf"{KEY} is float32 \(1,\) where float32 \(24, 8\)", lambda t: t.update({KEY: torch.zeros(1)})),
    (rf"{KEY} is float16 \(24, 8\) where float32", lambda t: t.update({KEY: t[KEY].half()})),
    (r"step\.token_embedding\.weight is missing", lambda t: t.pop("step.token_embedding.weight")),
]


@pytest.mark.parametrize(("message", "damage"), DAMAGES)
def test_another_optimizers_state_is_refused_by_name(message: str, damage: Callable[[Tensors], Any]) -> None:
    tensors = optimizer_tensors(*stepped())
    damage(tensors)
    model = GPT(SHAPE)
    with pytest.raises(CheckpointError, match=message):
        restore_optimizer(model, build_optimizer(model, OptimConfig(), CPU), tensors, "test")


def test_a_fresh_optimizer_is_left_with_its_rates_and_without_gradients() -> None:
    model = GPT(SHAPE)
    optimizer = build_optimizer(model, OptimConfig(learning_rate=0.25), CPU)
    restore_optimizer(model, optimizer, optimizer_tensors(*stepped()), "test")
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_checkpoint_with_the_right_digests_and_the_wrong_moments_is_refused(tmp_path: Path) -> None:
    config = loop.tiny(tmp_path, max_steps=2)
    run = train(config).run
    found = checkpoint.latest(run)
    moments = {name: torch.zeros(1) if name.startswith("exp_avg") else tensor
               for name, tensor in found.optimizer_tensors().items()}  # fmt: skip
    forged = checkpoint.Snapshot(
        step=3,
        model=found.model_tensors(),
        optimizer=moments,
        model_config=found.model_config(),
        config=found.text("config.toml"),
        state={k: v for k, v in found.state.items() if k not in ("format", "step", "files", "digest")},
        tokenizer=found.tokenizer(),
    )
    checkpoint.verify(checkpoint.save(run, forged))
    with pytest.raises(CheckpointError, match=r"exp_avg.* is float32 \(1,\)"):
        train(config, resume=run)


LENGTHS: list[tuple[dict[str, Any], int, bool]] = [
    ({"schedule": "constant", "warmup_steps": 2}, 40, True),
    ({"schedule": "wsd", "warmup_steps": 2, "decay_fraction": 0.5}, 40, True),
    ({"schedule": "wsd", "warmup_steps": 2, "decay_fraction": 0.5}, 13, False),  # step 8 would decay already
    ({"schedule": "wsd"}, 400, False),  # whose warm-up follows from the length
    ({"schedule": "cosine", "warmup_steps": 2}, 40, False),
]


@pytest.mark.parametrize(("schedule", "longer", "allowed"), LENGTHS)
def test_the_length_may_change_where_the_rates_so_far_do_not(
    tmp_path: Path, schedule: dict[str, Any], longer: int, allowed: bool
) -> None:
    settings = {"save_every": 9, "keep": 9, "eval_every": 400, **schedule}
    run = train(loop.tiny(tmp_path, max_steps=20, **settings)).run
    for found in list(checkpoint.complete(run)):
        if found.step > 9:
            found.path.rename(tmp_path / found.path.name)
    other = loop.tiny(tmp_path, max_steps=longer, **settings)
    if not allowed:
        with pytest.raises(
            CheckpointError, match=rf"started for 20 steps, now it is {longer}.*learning rate"
        ):
            train(other, resume=run)
        return
    train(other, resume=run)
    whole = train(loop.tiny(tmp_path, max_steps=longer, **settings)).run
    assert loop.same(loop.weights(run), loop.weights(whole))


def test_precision_is_compared_by_what_was_chosen(tmp_path: Path) -> None:
    run = train(loop.tiny(tmp_path, max_steps=2, precision="auto")).run
    train(loop.tiny(tmp_path, max_steps=2, precision="fp32"), resume=run)  # what auto is on a CPU
    with pytest.raises(CheckpointError, match=r"train\.precision = 'fp32', now it is 'bf16'"):
        train(loop.tiny(tmp_path, max_steps=2, precision="bf16"), resume=run)
