"""Nothing is filled in silently: what a checkpoint lacks, and what a resumed run may change."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loop
import pytest
import torch
from torch import Tensor

import gptmodel
from gptmodel import checkpoint
from gptmodel.errors import CheckpointError
from gptmodel.load import GPT
from gptmodel.model import ModelConfig
from gptmodel.train import train
from gptmodel.training.config import parse
from gptmodel.training.optim import OptimConfig, build_optimizer
from gptmodel.training.restore import MAY_CHANGE, check_resumable, optimizer_tensors, restore_optimizer

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
            CheckpointError,
            match=rf"started for 20 steps; for {longer}, .*learning rate at step \d+, which is done",
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


class Changed:
    """A configuration of which one setting is another."""

    def __init__(self, settings: dict[str, Any], schedule: Any) -> None:
        self.settings, self.schedule = settings, schedule

    def flat(self) -> dict[str, Any]:
        return self.settings


def test_every_setting_that_decides_the_weights_is_refused_by_name(tmp_path: Path) -> None:
    config = loop.tiny(tmp_path, max_steps=1)
    found = checkpoint.latest(train(config).run)
    settings = parse(found.text("config.toml")).flat()
    identity = {key: found.state[key] for key in ("tokenizer", "data")}
    precision = found.state["precision"]

    def resume_with(changes: dict[str, Any], **others: Any) -> None:
        now = {"precision": precision, "identity": identity} | others
        changed: Any = Changed(settings | changes, config.schedule)
        check_resumable(found, changed, now["identity"], now["precision"], found.state["total_steps"])

    resume_with({})
    refused = settings.keys() - MAY_CHANGE
    assert {"optim.learning_rate", "train.seed", "model.width", "train.batch_size"} <= refused
    for key in refused:
        with pytest.raises(CheckpointError, match=f"was started with {re.escape(key)} = "):
            resume_with({key: "something else"})
    for key in MAY_CHANGE & settings.keys() - {"train.precision"}:
        resume_with({key: "something else"})
    for key in identity:
        with pytest.raises(CheckpointError, match=f"{key} something el, now|, now something el"):
            resume_with({}, identity=identity | {key: "something else"})


def test_another_number_of_threads_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    had = torch.get_num_threads()
    settings = {"schedule": "constant", "warmup_steps": 1}
    run = train(loop.tiny(tmp_path, max_steps=1, **settings)).run
    try:
        torch.set_num_threads(had + 1)
        train(loop.tiny(tmp_path, max_steps=2, **settings), resume=run)
    finally:
        torch.set_num_threads(had)
    assert f"had {had} threads, now it has {had + 1}" in capsys.readouterr().err
    train(loop.tiny(tmp_path, max_steps=3, **settings), resume=run)
    assert f"had {had + 1} threads, now it has {had}" in capsys.readouterr().err
    train(loop.tiny(tmp_path, max_steps=4, **settings), resume=run)
    assert "threads, now" not in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_where_and_when_a_run_takes_place_changes_no_bit(tmp_path: Path) -> None:
    """Without a home, in another time zone and language, no folder for temporary files, a full output."""
    here = train(loop.tiny(tmp_path, max_steps=3, experiment_name="here")).run
    odd = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "TMPDIR": str(tmp_path / "nowhere"), "COLUMNS": "1"}
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "LANG", "TERM")}
    environment |= odd | {
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(Path(gptmodel.__file__).parents[1]),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    words = loop.flags(tmp_path, max_steps=3, experiment_name="elsewhere")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gptmodel", "train", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment,
        )  # fmt: skip
    elsewhere = here.with_name("elsewhere")
    assert loop.same(loop.weights(elsewhere), loop.weights(here)), done.stderr
    assert loop.losses(elsewhere) == loop.losses(here)
