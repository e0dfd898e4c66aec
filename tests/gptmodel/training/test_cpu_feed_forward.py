"""The feed-forward layer as one operator on a CPU: values, gradients, and which layers become one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gptmodel.model import GPT, ModelConfig
from gptmodel.model.gpt import FeedForward
from gptmodel.training.compile import compile_loss, summed
from gptmodel.training.cpu import graph, operators
from gptmodel.training.cpu.library import has_avx512

ops: Any = torch.ops.gptmodel


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    if not has_avx512() or shutil.which("g++") is None:
        pytest.skip("no processor with AVX-512, or no compiler")
    if not torch.backends.mkl.is_available():
        pytest.skip("this torch was built without MKL")
    assert operators.has_products(), "the processor, a compiler and MKL are there"


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def layer(x: Tensor, up: Tensor, bias: Tensor | None, down: Tensor, activation: str) -> Tensor:
    """The layer in torch's own operators."""
    h = F.linear(x, up, bias)
    if activation == "relu2":
        return F.linear(F.relu(h).square(), down)
    return F.linear(F.gelu(h, approximate="tanh" if activation == "gelu_tanh" else "none"), down)


def operator(x: Tensor, up: Tensor, bias: Tensor | None, down: Tensor, activation: str) -> Tensor:
    found: Tensor = ops.feed_forward(x, up, bias, down, operators.ACTIVATIONS.index(activation))[0]
    return found


def draw(N: int, D: int, F: int, out: int, bias: bool) -> tuple[list[Tensor | None], Tensor]:
    """The inputs of a layer, and the gradient of what it gives."""
    generator = torch.Generator().manual_seed(1)
    x, up, down, dy, b = (
        torch.randn(*shape, generator=generator) for shape in ((N, D), (F, D), (out, F), (N, out), (F,))
    )
    return [2 * x, up / D**0.5, b if bias else None, down / F**0.5], dy


def value_and_gradients(function: Any, inputs: list[Tensor | None], dy: Tensor, name: str) -> list[Tensor]:
    leaves = [None if x is None else x.detach().requires_grad_() for x in inputs]
    y = function(*leaves, name)
    given = [x for x in leaves if x is not None]
    return [y.detach().double(), *(g.double() for g in torch.autograd.grad(y, given, dy))]


@pytest.mark.parametrize("activation", operators.ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("N", "D", "F", "out"),
    [
        (1, 1, 1, 1),
        (7, 5, 19, 3),
        (130, 64, 256, 64),
        (600, 33, 2100, 40),  # several blocks of rows a thread, so the weights are packed
        (96, 520, 520, 513),  # gradients of weights too large for a part a thread
    ],
)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_values_and_gradients_are_those_of_the_layer(
    activation: str, bias: bool, N: int, D: int, F: int, out: int, threads: int
) -> None:
    inputs, dy = draw(N, D, F, out, bias)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = value_and_gradients(operator, inputs, dy, activation)
    finally:
        torch.set_num_threads(before)
    wide = [None if x is None else x.double() for x in inputs]
    expected = value_and_gradients(layer, wide, dy.double(), activation)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= 4e-6 * b.abs().max()


@pytest.mark.parametrize("activation", operators.ACTIVATIONS)
def test_what_is_not_a_number_stays_so(activation: str) -> None:
    (x, up, bias, down), _ = draw(40, 16, 64, 16, True)
    assert x is not None
    x[9, 3] = float("nan")
    y = operator(x, up, bias, down, activation)
    assert y[9].isnan().all()
    assert y[:9].isfinite().all()
    assert y[10:].isfinite().all()


def test_the_same_threads_give_the_same_bits() -> None:
    inputs, dy = draw(300, 48, 192, 48, True)
    first, *others = (value_and_gradients(operator, inputs, dy, "gelu") for _ in range(4))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_shapes_and_types_that_do_not_fit_are_refused() -> None:
    (x, up, bias, down), _ = draw(8, 16, 64, 16, True)
    assert x is not None
    assert up is not None
    assert bias is not None
    with pytest.raises(RuntimeError, match=r"needs x \(N, D\), up \(F, D\)"):
        operator(x, up[:, :8].contiguous(), None, down, "gelu")
    with pytest.raises(RuntimeError, match=r"needs x \(N, D\), up \(F, D\)"):
        operator(x, up, bias[:5], down, "gelu")
    with pytest.raises(RuntimeError, match="contiguous fp32"):
        operator(x.double(), up, None, down, "gelu")


SMALL = {"vocab_size": 40, "context_length": 48, "width": 64, "heads": 4, "layers": 2}
GPT2 = {
    "position": "learned",
    "activation": "gelu_tanh",
    "normalization": "layer",
    "qk_norm": False,
    "bias": True,
}


def watched(work: Callable[[], Tensor]) -> tuple[Tensor, set[str]]:
    """What ``work`` returns, and the operators of ours that it ran."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        found = work()
    names = (event.key for event in profile.key_averages())
    return found, {name.removeprefix("gptmodel::") for name in names if name.startswith("gptmodel::")}


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("shape", [GPT2, {}], ids=["gpt2", "modern"])
def test_a_compiled_model_computes_its_layers_with_it(shape: dict[str, Any]) -> None:
    model = GPT(ModelConfig(initialization="gpt2", **SMALL, **shape), seed=1)
    generator = torch.Generator().manual_seed(1)
    ids, targets = (torch.randint(40, (6, 48), generator=generator) for _ in range(2))

    def step(loss_fn: Any) -> Tensor:
        model.zero_grad()
        loss = summed(loss_fn, ids, targets, None)
        torch.autograd.backward(loss)
        return loss.detach()

    expected_loss = step(model.loss)
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    torch.compiler.reset()
    with graph.in_compiled_graphs():
        loss_fn, said = compile_loss(model, len(ids))
        assert said.startswith("compiled")
        loss, names = watched(lambda: step(loss_fn))
    assert names >= {"feed_forward", "feed_forward_backward"}
    assert "gelu" not in names
    assert torch.allclose(loss, expected_loss, rtol=1e-5)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert (gradient - expected[name]).norm() <= 1e-5 * expected[name].norm(), name


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("activation", "tokens", "mkl", "dtype"),
    [
        ("swiglu", 300, True, torch.float32),
        ("relu2", 100, True, torch.float32),
        ("relu2", 300, False, torch.float32),
        ("relu2", 300, True, torch.bfloat16),
        ("relu2", 300, True, torch.float32),
    ],
    ids=["swiglu", "few tokens", "not MKL", "bf16", "taken"],
)
def test_other_layers_stay_as_they_are(
    activation: Any, tokens: int, mkl: bool, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    torch.compiler.reset()
    module = FeedForward(ModelConfig(**SMALL, activation=activation))
    x = torch.randn(tokens, 64).to(dtype)
    with graph.in_compiled_graphs(mkl=mkl):
        y, names = watched(lambda: torch.compile(module, fullgraph=True)(x))
    assert ("feed_forward" in names) == (request.node.callspec.id == "taken")
    assert torch.allclose(y, module(x), rtol=1e-2, atol=1e-2)


def test_a_value_that_is_used_again_keeps_the_layer_as_it_is() -> None:
    def twice(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
        h = F.linear(x, up)
        return F.linear(F.gelu(h), down) + h.mean()

    (x, up, _, down), _ = draw(2000, 16, 64, 16, False)
    torch.compiler.reset()
    with graph.in_compiled_graphs():
        y, names = watched(lambda: torch.compile(twice, fullgraph=True)(x, up, down))
    assert "feed_forward" not in names
    assert torch.allclose(y, twice(x, up, down), atol=1e-5)  # type: ignore[arg-type]
