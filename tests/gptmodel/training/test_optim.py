"""Parameter groups, the update itself against its formula, and clipping."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import loop
import pytest
import torch

from gptmodel.errors import ConfigError
from gptmodel.model import GPT, ModelConfig
from gptmodel.train import train
from gptmodel.training.optim import (
    OPTIMIZERS,
    AdamW,
    OptimConfig,
    build_optimizer,
    clip_gradients,
    parameter_groups,
    set_learning_rate,
)

CPU = torch.device("cpu")


def tiny(**changes: object) -> GPT:
    shape = {"vocab_size": 11, "context_length": 8, "width": 8, "layers": 1, "heads": 2}
    return GPT(ModelConfig.model_validate(shape | changes))


@pytest.mark.parametrize("changes", [{}, {"tied_head": True}, {"bias": True, "norm_affine": True}])
def test_groups_hold_each_parameter_once_and_only_matrices_decay(changes: dict[str, object]) -> None:
    model = tiny(**changes)
    groups = parameter_groups(model, OptimConfig(weight_decay=0.1))
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    for group in groups:
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] == 0.1}


def test_embedding_and_head_may_have_a_rate_of_their_own() -> None:
    model = tiny()
    groups = parameter_groups(model, OptimConfig(learning_rate=1.0, head_learning_rate=0.5))
    rates = {id(p): group["peak_learning_rate"] for group in groups for p in group["params"]}
    assert model.head is not None
    for name, parameter in model.named_parameters():
        expected = 0.5 if parameter is model.token_embedding.weight or parameter is model.head.weight else 1.0
        assert rates[id(parameter)] == expected, name


def test_frozen_parameters_are_left_out() -> None:
    model = tiny()
    model.blocks.requires_grad_(False)
    grouped = sum(len(group["params"]) for group in parameter_groups(model, OptimConfig()))
    assert grouped == 2


def test_the_first_update_is_adamw() -> None:
    model = torch.nn.Linear(3, 2)
    config = OptimConfig(learning_rate=0.1, weight_decay=0.2, epsilon=1e-8)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, config, CPU)
    assert set_learning_rate(optimizer, 0.5) == 0.05
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        # after one step both moments are unbiased: the update is lr · g / (|g| + eps), decay apart
        grad, decay = parameter.grad, 0.2 if parameter.ndim == 2 else 0.0
        assert grad is not None
        expected = before[name] * (1 - 0.05 * decay) - 0.05 * grad / (grad.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("limit", [0.0, 0.5, 5.0, 1e9])
@pytest.mark.parametrize("spoilt", [None, float("inf"), float("nan")])
def test_clipping_is_torchs(limit: float, spoilt: float | None) -> None:
    ours, torchs = torch.nn.Linear(7, 5), torch.nn.Linear(7, 5)
    for mine, other in zip(ours.parameters(), torchs.parameters(), strict=True):
        mine.grad = torch.linspace(-2, 2, mine.numel()).view_as(mine)
        if spoilt is not None and mine.ndim == 1:
            mine.grad[1] = spoilt
        other.grad = mine.grad.clone()
    norm = clip_gradients(ours.parameters(), limit)
    expected = torch.nn.utils.clip_grad_norm_(torchs.parameters(), limit or float("inf"))
    assert torch.equal(norm, expected) or (norm.isnan() and expected.isnan())
    for mine, other in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert torch.equal(mine.grad.nan_to_num(9.0), other.grad.nan_to_num(9.0))


def test_clipping_scales_to_the_limit_and_reports_the_norm_before() -> None:
    model = torch.nn.Linear(4, 4)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    norm = (9 * 20) ** 0.5
    assert float(clip_gradients(model.parameters(), 0)) == pytest.approx(norm)
    assert float(clip_gradients(model.parameters(), 1.0)) == pytest.approx(norm)
    assert float(clip_gradients(model.parameters(), 0)) == pytest.approx(1.0, rel=1e-5)


def momentum(model: torch.nn.Module, config: OptimConfig, device: torch.device) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameter_groups(model, config), lr=config.learning_rate, momentum=0.9)


def test_an_optimizer_joins_by_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop trains with it and its checkpoints hold its state: nothing else knows its name."""
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(OPTIMIZERS, "momentum", momentum)
    settings = {"optimizer": "momentum", "max_steps": 8, "save_every": 4, "keep": 9}
    run = train(loop.tiny(tmp_path, **settings)).run
    whole = loop.weights(run)
    assert "momentum_buffer.token_embedding.weight" in whole
    shutil.rmtree(run / "checkpoints" / "step-00000008")
    train(loop.tiny(tmp_path, **settings), resume=run)
    assert loop.same(loop.weights(run), whole)


def test_an_unknown_optimizer_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'adamv'; did you mean 'adamw'.*there are adamw"):
        build_optimizer(tiny(), OptimConfig(optimizer="adamv"), CPU)


FIRST_LOSS = """
import sys
from gptmodel.cli import main
from gptmodel.training import loop

def look(state, loss, progress):
    slow = ("torch._dynamo", "sympy", "torch.distributed.tensor", "tensorboard", "transformers")
    print(",".join(name for name in slow if name in sys.modules) or "none of them")

loop.compare_with_uniform = look
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_first_loss_waits_for_no_compiler_and_no_board(optimizer: str, tmp_path: Path) -> None:
    words = ["train", *loop.flags(tmp_path, max_steps=1, optimizer=optimizer)]
    environment = {k: v for k, v in os.environ.items() if k != "GPTMODEL_NANOGPT"}  # of other tests
    command = [sys.executable, "-c", FIRST_LOSS, *words]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert "none of them" in run.stdout


def test_the_update_and_the_state_are_those_of_torch() -> None:
    ours, theirs = (torch.nn.Linear(5, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    settings = {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.3, "fused": True}
    one = AdamW(ours.parameters(), **settings)  # type: ignore[arg-type]
    other = torch.optim.AdamW(theirs.parameters(), **settings)  # type: ignore[arg-type]
    for seed in range(4):
        for model, optimizer in ((ours, one), (theirs, other)):
            x = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))
            model(x).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))
    for mine, yours in zip(
        one.state_dict()["state"].values(), other.state_dict()["state"].values(), strict=True
    ):
        assert all(torch.equal(mine[name], yours[name]) for name in yours)
