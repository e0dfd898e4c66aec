"""Products out of three bf16 parts: as exact as fp32, also in a compiled model."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from gptmodel.model import GPT, ModelConfig
from gptmodel.training.compile import compile_loss
from gptmodel.training.cpu import amx
from gptmodel.training.products import choose_products, relative_error, using

SHAPE = ModelConfig(vocab_size=128, context_length=32, width=96, heads=3, layers=1)


def random(rows: int, columns: int, *, transposed: bool, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if transposed:
        return torch.randn(columns, rows, generator=generator).t()
    return torch.randn(rows, columns, generator=generator)


@pytest.fixture(scope="module")
def product() -> amx.Product:
    if not amx.has_amx() or shutil.which("g++") is None:
        pytest.skip("no processor with AMX, or no compiler")
    found = amx.load()
    assert found is not None, "the processor and a compiler are there"
    return found


@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [(1, 1, 1), (16, 32, 16), (33, 70, 41), (31, 257, 1100), (1100, 300, 65), (64, 513, 96)],
)
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_products_are_as_exact_as_fp32(
    product: amx.Product, rows: int, depth: int, columns: int, left: bool, right: bool
) -> None:
    a = random(rows, depth, transposed=left, seed=1)
    b = random(depth, columns, transposed=right, seed=2)
    assert product(a, b).shape == (rows, columns)
    assert relative_error(a, b, product) < 1e-6


def test_every_bit_of_a_number_counts(product: amx.Product) -> None:
    a = torch.full((32, 32), 1 + 2.0**-23)
    assert torch.equal(product(a, torch.eye(32)), a)
    assert torch.equal(product(torch.eye(32), a), a)


def test_the_number_of_threads_changes_no_bit(product: amx.Product) -> None:
    a, b = random(200, 300, transposed=True, seed=1), random(300, 130, transposed=False, seed=2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(product(a, b))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_any_strides_are_taken_and_what_is_not_finite_stays_so(product: amx.Product) -> None:
    a = random(70, 80, transposed=False, seed=1)[::2, ::2]
    b = torch.ones(1, 1).expand(40, 24)
    assert torch.allclose(product(a, b), a @ b, atol=1e-5)
    a = a.contiguous()
    for number in (float("inf"), float("nan")):
        a[3, 5] = number
        assert not product(a, b)[3].isfinite().any()
        assert product(a, b)[4].isfinite().all()


def test_a_compiled_model_learns_the_same_with_them(product: amx.Product) -> None:
    model = GPT(SHAPE, seed=1)
    ids = torch.randint(128, (4, 32), generator=torch.Generator().manual_seed(1))

    def gradients() -> dict[str, Tensor]:
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    expected_loss = model.loss(ids, ids)
    torch.autograd.backward(expected_loss)
    expected = gradients()
    model.zero_grad()
    with using("amx"):
        loss_fn, said = compile_loss(model, 4)
        assert said.startswith("compiled")
        loss = loss_fn(ids, ids)
        torch.autograd.backward(loss)
    assert torch.allclose(loss, expected_loss, rtol=1e-6)
    for name, gradient in gradients().items():
        assert torch.allclose(gradient, expected[name], rtol=1e-4, atol=1e-6), name


def test_they_are_chosen_for_compiled_models_alone(product: amx.Product) -> None:
    assert choose_products(SHAPE, 4, compiled=True)[0] == "amx"
    assert choose_products(SHAPE, 4)[0] != "amx"
    assert choose_products(SHAPE, 4, "amx")[1] == "products on AMX are for compiled models: give --compile"
    assert choose_products(SHAPE, 4, "mkl", compiled=True)[0] == "mkl"


def test_without_the_processor_a_run_that_had_them_goes_on_with_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "load", lambda: None)
    chosen, why = choose_products(SHAPE, 4, "amx", compiled=True)
    assert (chosen, "has no products on AMX" in why) == ("mkl", True)


def test_products_that_are_less_exact_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "load", lambda: lambda a, b: (a.bfloat16() @ b.bfloat16()).float())
    chosen, why = choose_products(SHAPE, 4, "amx", compiled=True)
    assert (chosen, "not exact here" in why) == ("mkl", True)
