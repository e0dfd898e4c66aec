"""Muon against `torch.optim.Muon`, its other half against `torch.optim.AdamW`; resume and accumulation."""

from __future__ import annotations

import copy
from pathlib import Path

import loop
import pytest
import torch
from torch import Tensor, nn

from gptmodel.model import GPT, ModelConfig
from gptmodel.train import train
from gptmodel.training.optim import OptimConfig, build_optimizer, set_learning_rate
from gptmodel.training.optim.muon import POLAR_EXPRESS, QUINTIC, Muon, fast_product_dtype, orthogonalize

CPU = torch.device("cpu")
SHAPES = [(8, 8), (8, 8), (24, 8), (8, 32), (32, 8), (1, 8), (5, 3)]


def tiny(**changes: object) -> GPT:
    shape = {"vocab_size": 11, "context_length": 8, "width": 8, "layers": 2, "heads": 2}
    return GPT(ModelConfig.model_validate(shape | changes))


def parameters(seed: int = 0) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]


def give_gradients(seed: int, *sides: list[nn.Parameter]) -> None:
    draw = torch.Generator().manual_seed(seed)
    for parameter, *others in zip(*sides, strict=True):
        parameter.grad = torch.randn(parameter.shape, generator=draw)
        for other in others:
            other.grad = parameter.grad.clone()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("momentum", [0.0, 0.95])
def test_every_step_is_that_of_torch(momentum: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In fp32 on both sides: torch's always rounds to bf16, where the order of a sum already shows."""
    monkeypatch.setattr(Tensor, "bfloat16", lambda self: self.clone())
    mine, theirs = parameters(), parameters()
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": momentum}
    ours = Muon([{"params": mine, "matrices": True}], dtype=torch.float32, **settings)
    reference = torch.optim.Muon(theirs, **settings)
    for step in range(20):
        for optimizer in (ours, reference):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 / (step + 1)
        give_gradients(step, mine, theirs)
        ours.step()
        reference.step()
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_in_bf16_a_step_is_that_of_torch_up_to_rounding() -> None:
    mine, theirs = parameters(), parameters()
    before = [p.detach().clone() for p in mine]
    give_gradients(0, mine, theirs)
    Muon([{"params": mine, "matrices": True}], lr=1.0, dtype=torch.bfloat16).step()
    torch.optim.Muon(theirs, lr=1.0, weight_decay=0.0).step()
    for one, other, start in zip(mine, theirs, before, strict=True):
        difference = (one - other).detach().norm() / (other - start).detach().norm()
        assert float(difference) < 0.15


@pytest.mark.parametrize("coefficients", [QUINTIC, POLAR_EXPRESS], ids=["quintic", "polar express"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_come_near_one(coefficients: object, dtype: torch.dtype) -> None:
    for shape in ((16, 16), (16, 64), (64, 16)):
        found = orthogonalize([torch.randn(shape) for _ in range(3)], coefficients, dtype)  # type: ignore[arg-type]
        assert found.shape == (3, *shape)
        values = torch.linalg.svdvals(found.float())
        assert values[:, :-1].min() > 0.5
        assert values.max() < 1.3


def test_zeros_stay_zero() -> None:
    assert not orthogonalize([torch.zeros(4, 6)]).any()


def test_the_rest_is_adamw_bit_by_bit() -> None:
    mine, theirs = parameters(), parameters()
    settings = {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.1, "fused": True}
    ours = Muon([{"params": mine[:2], "matrices": True}, {"params": mine[2:]}], **settings)
    reference = torch.optim.AdamW(theirs[2:], **settings)
    for step in range(5):
        give_gradients(step, mine, theirs)
        ours.step()
        reference.step()
    assert all(torch.equal(one, other) for one, other in zip(mine[2:], theirs[2:], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(mine[:2], theirs[:2], strict=True))
    assert all(p.grad is not None for p in mine)


@pytest.mark.parametrize(
    "changes", [{}, {"kv_heads": 1}, {"activation": "swiglu", "bias": True, "norm_affine": True}]
)
def test_the_matrices_of_the_blocks_and_only_they_are_muons(changes: dict[str, object]) -> None:
    model = tiny(**changes)
    optimizer = build_optimizer(model, OptimConfig(optimizer="muon"), CPU)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    theirs = {id(p) for group in optimizer.param_groups if group["matrices"] for p in group["params"]}
    expected = {id(p) for name, p in model.named_parameters() if name.startswith("blocks") and p.ndim == 2}
    assert theirs == expected


@pytest.mark.parametrize("kv_heads", [None, 1])
def test_queries_keys_and_values_are_matrices_of_their_own(
    kv_heads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptmodel.training.optim.muon.fast_product_dtype", lambda device: torch.float32)
    model = tiny(kv_heads=kv_heads, initialization="gpt2")
    optimizer = build_optimizer(model, OptimConfig(optimizer="muon", weight_decay=0.0), CPU)
    set_learning_rate(optimizer, 1.0)
    weight = model.blocks[0].attention.qkv.weight  # type: ignore[union-attr]
    before = weight.detach().clone()
    ids = torch.randint(11, (4, 8))
    torch.autograd.backward(model.loss(ids, ids))
    assert isinstance(weight.grad, Tensor)
    gradient = weight.grad.clone()
    optimizer.step()
    rows = (8, 4, 4) if kv_heads else (8, 8, 8)
    for change, part in zip((weight.detach() - before).split(rows), gradient.split(rows), strict=True):
        expected = -0.02 * orthogonalize([part], dtype=torch.float32)[0]
        torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-6)


def test_a_restored_state_goes_on_alike() -> None:
    model = tiny(norm_affine=True)
    optimizer = build_optimizer(model, OptimConfig(optimizer="muon"), CPU)
    ids = torch.randint(11, (4, 8), generator=torch.Generator().manual_seed(1))

    def step(model: GPT, optimizer: torch.optim.Optimizer) -> None:
        set_learning_rate(optimizer, 1.0)
        torch.autograd.backward(model.loss(ids, ids))
        optimizer.step()
        optimizer.zero_grad()

    step(model, optimizer)
    other = copy.deepcopy(model)
    restored = build_optimizer(other, OptimConfig(optimizer="muon"), CPU)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(2):
        step(model, optimizer)
        step(other, restored)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_an_overflow_in_fp16_skips_the_whole_step() -> None:
    model = tiny(initialization="gpt2")
    optimizer = build_optimizer(model, OptimConfig(optimizer="muon"), CPU)
    scaler = torch.amp.GradScaler("cpu")
    before = [p.detach().clone() for p in model.parameters()]
    loss = model.loss(torch.randint(11, (2, 8)), torch.randint(11, (2, 8)))
    torch.autograd.backward(scaler.scale(loss))
    assert model.token_embedding.weight.grad is not None
    model.token_embedding.weight.grad[0, 0] = float("inf")
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_resumed_run_is_the_same_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    whole = train(loop.tiny(tmp_path, optimizer="muon", save_every=6, keep=2, experiment_name="whole"))
    part = train(
        loop.tiny(
            tmp_path, optimizer="muon", save_every=6, schedule="constant", max_steps=6, experiment_name="part"
        )
    )
    assert whole.step == 12
    config = loop.tiny(tmp_path, optimizer="muon", save_every=6, schedule="constant", experiment_name="part")
    resumed = train(config, resume=part.run)
    other = train(
        loop.tiny(tmp_path, optimizer="muon", save_every=6, schedule="constant", experiment_name="other")
    )
    assert loop.same(loop.weights(resumed.run), loop.weights(other.run))
    assert any(name.startswith("momentum_buffer.blocks") for name in loop.weights(resumed.run))


def test_accumulated_micro_batches_give_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("gptmodel.training.optim.muon.fast_product_dtype", lambda device: torch.float32)
    runs = [
        train(loop.tiny(tmp_path, optimizer="muon", max_steps=6, micro_batch_size=rows)).run
        for rows in (4, 2, 1)
    ]
    whole, *split = [[loss for _, loss in loop.losses(run)] for run in runs]
    for losses in split:
        assert losses == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, torch.float32),
        ({"avx512_f": True}, torch.float32),
        ({"sve_bf16": True, "bf16": True}, torch.bfloat16),
        ({}, torch.float32),
    ],
    ids=["AMX", "AVX-512's bf16", "AVX-512", "Arm", "unknown"],
)
def test_the_iterations_are_in_bf16_where_that_is_faster(
    capabilities: dict[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fast_product_dtype(torch.device("cpu")) == dtype
    assert fast_product_dtype(torch.device("cuda")) == torch.bfloat16
