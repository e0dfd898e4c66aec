"""The head and its cross-entropy: chunks and padded columns change neither value nor gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gptmodel.model import GPT, ModelConfig, loss
from gptmodel.model.loss import chunked_cross_entropy, cross_entropy, head


def random_case(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(37, 24, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(131, 24, generator=generator, requires_grad=True)
    targets = torch.randint(131, (37,), generator=generator)
    targets[[3, 20]] = -1
    return x, weight, targets


def plain(x: Tensor, weight: Tensor, targets: Tensor, softcap: float | None) -> Tensor:
    """The formula, in double precision."""
    logits = x.double() @ weight.double().t()
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("multiple", [1, 128])
@pytest.mark.parametrize("rows", [1, 8, 37, 100])
def test_chunks_have_the_value_and_gradient_of_the_formula(
    rows: int, multiple: int, softcap: float | None
) -> None:
    x, weight, targets = random_case()
    expected = plain(x, weight, targets, softcap)
    wanted = torch.autograd.grad(expected * 0.25, (x, weight))
    found = chunked_cross_entropy(x, weight, targets, softcap=softcap, rows=rows, multiple=multiple)
    got = torch.autograd.grad(found * 0.25, (x, weight))
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-5)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-5, atol=1e-6)


def test_chunks_in_bf16_are_as_near_as_the_plain_way() -> None:
    x, weight, targets = random_case(torch.bfloat16)
    exact = plain(x, weight, targets, None)
    wanted = torch.autograd.grad(exact, (x, weight))
    found = chunked_cross_entropy(x, weight, targets, rows=8)
    got = torch.autograd.grad(found, (x, weight))
    assert got[0].dtype == torch.bfloat16
    assert got[1].dtype == torch.float32
    torch.testing.assert_close(found, exact.float(), rtol=1e-2, atol=0.1)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=3e-2, atol=5e-2)


def test_padded_columns_are_invisible() -> None:
    x, weight, _ = random_case()
    assert torch.allclose(head(x, weight, multiple=128), x @ weight.t(), atol=1e-5)
    assert head(x, weight, multiple=128).shape == (37, 131)


class LargestTensor(TorchDispatchMode):  # type: ignore[misc]
    """Records the most elements of any result."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_large_vocabulary_never_holds_all_logits(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(vocab_size=5000, context_length=64, width=8, layers=1, heads=2)
    model = GPT(config)
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(model.head.weight, generator=generator)  # type: ignore[union-attr]  # it begins with zeros
    ids = torch.randint(5000, (4, 65), generator=generator)
    arguments = ids[:, :-1], ids[:, 1:]
    expected = model.loss(*arguments, reduction=reduction)  # type: ignore[arg-type]
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    monkeypatch.setattr(loss, "CHUNK_BYTES", 4 * 5000 * 32)
    with LargestTensor() as watched:
        found = model.loss(*arguments, reduction=reduction)  # type: ignore[arg-type]
        got = torch.autograd.grad(found, list(model.parameters()))
        with torch.no_grad():
            alone = model.loss(*arguments, reduction=reduction)  # type: ignore[arg-type]
    assert watched.elements <= 5000 * 32
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(alone, expected)
    terms = 1 if reduction == "mean" else ids[:, 1:].numel()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6 * terms)


def test_each_token_alone_and_targets_that_do_not_count() -> None:
    x, weight, targets = random_case()
    each = cross_entropy(x, weight, targets, reduction="none")
    assert each.shape == (37,)
    assert each[3] == 0
    torch.testing.assert_close(each.sum(), cross_entropy(x, weight, targets, reduction="sum"))
    torch.testing.assert_close(each.sum() / 35, cross_entropy(x, weight, targets))
