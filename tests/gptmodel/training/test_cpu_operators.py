"""The operators of the step on a CPU: values, gradients, and that compiled models use them."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gptmodel.model import GPT, ModelConfig
from gptmodel.model.attention import math_attention
from gptmodel.training.compile import compile_loss, summed
from gptmodel.training.cpu import graph, library, operators
from gptmodel.training.cpu.library import has_avx512

ops: Any = torch.ops.gptmodel
BF16 = {torch.float32: 2e-6, torch.bfloat16: 2e-2}


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    if not has_avx512() or shutil.which("g++") is None:
        pytest.skip("no processor with AVX-512, or no compiler")
    assert operators.load(), "the processor and a compiler are there"


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def value_and_gradient(function: Any, x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    y = function(x)
    (dx,) = torch.autograd.grad(y, x, dy.to(y.dtype))
    return y.detach().double(), dx.double()


def apart(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> float:
    """The largest difference of a value or a gradient, over the largest of the expected ones."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("shape", [(1,), (15,), (3, 16), (7, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_and_its_gradient(tanh: bool, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, dy = (3 * random(*shape)).to(dtype), random(*shape, seed=2)
    expected = value_and_gradient(
        lambda x: F.gelu(x, approximate="tanh" if tanh else "none"), x.double(), dy.double()
    )
    assert apart(value_and_gradient(lambda x: ops.gelu(x, tanh)[0], x, dy), expected) < BF16[dtype]


@pytest.mark.parametrize("tanh", [False, True])
def test_gelu_is_as_exact_as_torchs(tanh: bool) -> None:
    x = torch.linspace(-14, 14, 100_001)
    torchs = lambda x: F.gelu(x, approximate="tanh" if tanh else "none")  # noqa: E731
    expected = value_and_gradient(torchs, x.double(), torch.ones_like(x).double())
    theirs = value_and_gradient(torchs, x, torch.ones_like(x))
    ours = value_and_gradient(lambda x: ops.gelu(x, tanh)[0], x, torch.ones_like(x))
    for mine, other, exact in zip(ours, theirs, expected, strict=True):
        assert (mine - exact).abs().max() <= 1.5 * (other - exact).abs().max()


def test_what_is_not_a_number_stays_so() -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0])
    for tanh in (False, True):
        value, slope = ops.gelu(x, tanh)
        assert not value[:3].isfinite().any()
        assert slope[0].isnan()
        assert value[3].isfinite()
    qkv = random(1, 20, 3, 16)
    qkv[0, 9, 0, 3] = float("nan")
    y, _ = ops.attention(qkv, 1)
    assert not y[0, 9].isfinite().any()
    assert y[0, :9].isfinite().all()


@pytest.mark.parametrize("strides", ["contiguous", "transposed", "every second"])
def test_any_strides_are_taken(strides: str) -> None:
    x = random(40, 36)
    x = {"contiguous": x, "transposed": x.t(), "every second": x[::2, ::2]}[strides]
    assert torch.equal(ops.gelu(x, False)[0], ops.gelu(x.contiguous(), False)[0])
    qkv = random(2, 9, 30, 16).transpose(1, 2)[:, :, :6]
    assert torch.equal(ops.attention(qkv, 2)[0], ops.attention(qkv.contiguous(), 2)[0])


def attend(qkv: Tensor, heads: int) -> Tensor:
    groups = (qkv.shape[2] - heads) // 2
    q, k, v = qkv.transpose(1, 2).split((heads, groups, groups), 1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)


@pytest.mark.parametrize(
    ("B", "T", "H", "G", "K"),
    [
        (2, 64, 4, 4, 32),
        (1, 1, 1, 1, 1),
        (3, 7, 2, 1, 5),
        (2, 33, 6, 2, 48),
        (1, 100, 4, 4, 64),
        (1, 256, 2, 2, 33),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_and_its_gradient(B: int, T: int, H: int, G: int, K: int, dtype: torch.dtype) -> None:
    qkv, dy = random(B, T, H + 2 * G, K).to(dtype), random(B, T, H, K, seed=2).to(dtype)
    expected = value_and_gradient(lambda x: attend(x, H), qkv.double(), dy.double())
    found = value_and_gradient(lambda x: ops.attention(x, H)[0], qkv, dy)
    assert apart(found, expected) < BF16[dtype]


def test_the_number_of_threads_changes_no_bit() -> None:
    qkv, dy, x = random(3, 40, 6, 24), random(3, 40, 2, 24, seed=2), random(41, 33)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y, stats = ops.attention(qkv, 2)
            found.append([y, ops.attention_backward(dy, qkv, stats, 2), ops.gelu(x, False)[1]])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


PLAIN = {
    "initialization": "gpt2",
    "vocab_size": 40,
    "context_length": 48,
    "width": 64,
    "heads": 4,
    "layers": 2,
}
GPT2 = {"position": "learned", "activation": "gelu_tanh", "normalization": "layer", "qk_norm": False}
MODERN = {"position": "rotary", "activation": "gelu", "kv_heads": 2}


@pytest.mark.parametrize(
    ("shape", "dtype"), [(GPT2, None), (GPT2, torch.bfloat16), (MODERN, None)], ids=["gpt2", "bf16", "modern"]
)
def test_a_compiled_model_uses_them_and_learns_the_same(
    shape: dict[str, Any], dtype: torch.dtype | None
) -> None:
    model = GPT(ModelConfig(**PLAIN, **shape), seed=1)
    model.compute_dtype = dtype
    draw = torch.Generator().manual_seed(1)
    ids, targets = (torch.randint(40, (3, 48), generator=draw) for _ in range(2))

    def gradients(loss: Tensor) -> dict[str, Tensor]:
        torch.autograd.backward(loss)
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        return found

    expected_loss = summed(model.loss, ids, targets, None)
    expected = gradients(expected_loss)
    with graph.in_compiled_graphs(mkl=False):  # or gelu would be a part of the feed-forward layer
        loss_fn, said = compile_loss(model, 3)
        assert said.startswith("compiled")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            loss = summed(loss_fn, ids, targets, None)
            found = gradients(loss)
        again = gradients(summed(loss_fn, ids, targets, None))
    assert all(torch.equal(again[name], gradient) for name, gradient in found.items())
    names = {event.key.removeprefix("gptmodel::") for event in profile.key_averages()}
    assert {"gelu", "attention", "attention_backward", "embedding", "embedding_backward"} <= names
    tolerance = 1e-5 if dtype is None else 3e-2
    assert torch.allclose(loss, expected_loss, rtol=tolerance)
    for name, gradient in found.items():
        assert (gradient - expected[name]).norm() <= tolerance * expected[name].norm(), name


def test_what_they_do_not_compute_stays_as_it_is() -> None:
    def masked(q: Tensor, mask: Tensor) -> Tensor:
        y = math_attention(q, q, q, mask=mask, causal=False)
        return y + math_attention(q, q, q, mask=None, causal=True, dropout=0.5)

    q, mask = random(1, 2, 16, 16), torch.ones(16, 16, dtype=torch.bool)
    with graph.in_compiled_graphs():
        compiled = torch.compile(masked, fullgraph=True)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            compiled(q, mask)
    assert not [event.key for event in profile.key_averages() if event.key.startswith("gptmodel::")]


@pytest.mark.parametrize("lacking", ["instructions", "compiler", "exactness"])
def test_without_them_a_run_takes_torchs_own(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    if lacking == "instructions":
        monkeypatch.setattr(library, "has_avx512", lambda: False)
    elif lacking == "compiler":
        monkeypatch.setattr(library, "source", lambda: "this is no C++")
    else:
        monkeypatch.setattr(operators, "AS_EXACT", 0.0)
    monkeypatch.setattr(operators, "library", library.library.__wrapped__)
    assert operators.load.__wrapped__() is False
