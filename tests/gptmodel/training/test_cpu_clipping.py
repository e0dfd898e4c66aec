"""Clipping in C++: the norm, what is scaled, and what is left to torch."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from gptmodel.training.cpu import clipping
from gptmodel.training.cpu.library import has_avx512, library

EPSILON = 1e-6


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    if not has_avx512() or shutil.which("g++") is None:
        pytest.skip("no processor with AVX-512, or no compiler")
    assert library() is not None, "the processor and a compiler are there"


def draw(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, generator=generator) for size in sizes]


@pytest.mark.parametrize("sizes", [(1,), (15, 16, 17), (63, 0, 65), (16_384, 40_001, 3), ()])
@pytest.mark.parametrize("limit", [0.5, 1e9, float("inf")])
def test_norm_and_gradients_are_torchs(sizes: tuple[int, ...], limit: float) -> None:
    ours = draw(*sizes)
    norm = float(torch.cat([torch.zeros(1), *ours]).double().norm())
    expected = [g * min(1.0, limit / (norm + EPSILON)) for g in ours]
    found = clipping.clip(ours, limit, EPSILON)
    assert found is not None
    assert float(found) == pytest.approx(norm, rel=1e-6)
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other)


def test_below_the_limit_no_bit_changes() -> None:
    ours = draw(100, 1000)
    before = [g.clone() for g in ours]
    clipping.clip(ours, 1e6, EPSILON)
    assert all(map(torch.equal, ours, before))


@pytest.mark.parametrize("spoilt", [float("inf"), float("nan")])
def test_what_is_not_finite_is_told_by_the_norm_and_stays(spoilt: float) -> None:
    ours, torchs = (torch.nn.Linear(7, 5) for _ in range(2))
    for mine, other in zip(ours.parameters(), torchs.parameters(), strict=True):
        mine.grad = torch.linspace(-2, 2, mine.numel()).view_as(mine)
        mine.grad.view(-1)[3] = spoilt
        other.grad = mine.grad.clone()
    found = clipping.clip([p.grad for p in ours.parameters() if p.grad is not None], 1.0, EPSILON)
    expected = torch.nn.utils.clip_grad_norm_(torchs.parameters(), 1.0)
    assert found is not None
    assert torch.equal(found.nan_to_num(9.0), expected.nan_to_num(9.0))
    for mine, other in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert torch.equal(mine.grad.nan_to_num(9.0), other.grad.nan_to_num(9.0))


def test_the_number_of_threads_changes_no_bit() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            gradients = draw(100_000, 17)
            found.append([clipping.clip(gradients, 1.0, EPSILON), *gradients])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["double", "transposed", "parameter"])
def test_other_gradients_are_left_to_torch(kind: str) -> None:
    x = torch.full((4, 6), 3.0)
    given = {"double": x.double(), "transposed": x.t(), "parameter": torch.nn.Parameter(x)}[kind]
    assert clipping.clip([torch.ones(3), given], 1.0, EPSILON) is None
    assert given.flatten()[0] == 3
