"""The gradient of an embedding on a CPU: the same bits each time, in compiled models too."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gptmodel.training.cpu import operators
from gptmodel.training.cpu.embedding import embedding_operator
from gptmodel.training.cpu.graph import in_compiled_graphs

IDS = torch.randint(5, (40, 50), generator=torch.Generator().manual_seed(1))
GRADIENT = torch.randn(40, 50, 37, generator=torch.Generator().manual_seed(2))


def gradient_of(function: Any) -> Tensor:
    weight = torch.zeros(7, 37, requires_grad=True)
    (found,) = torch.autograd.grad(function(weight), weight, GRADIENT)
    return found


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_it_is_added_in_the_order_of_the_tokens(threads: int) -> None:
    expected = np.zeros((7, 37), np.float32)
    np.add.at(expected, IDS.flatten().numpy(), GRADIENT.flatten(0, 1).numpy())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = gradient_of(lambda weight: embedding_operator()(weight, IDS))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found.numpy(), expected)


def test_the_rows_are_those_of_the_ids() -> None:
    weight = torch.arange(12.0).view(6, 2)
    found = embedding_operator()(weight[::2], torch.tensor([[2, 0]]))
    assert found.tolist() == [[[8.0, 9.0], [0.0, 1.0]]]
    with pytest.raises(IndexError, match="out of range"):
        embedding_operator()(weight, torch.tensor([6]))


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("with_loops", [True, False])
def test_a_compiled_model_has_it_on_every_processor(
    monkeypatch: pytest.MonkeyPatch, with_loops: bool
) -> None:
    if not with_loops:
        monkeypatch.setattr(operators, "load", lambda: False)
    torch.compiler.reset()

    def look_up(weight: Tensor) -> Tensor:
        return F.gelu(F.embedding(IDS, weight))

    with in_compiled_graphs():
        compiled = torch.compile(look_up, fullgraph=True)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            found = gradient_of(compiled)
    names = {event.key for event in profile.key_averages() if event.key.startswith("gptmodel::")}
    assert names >= {"gptmodel::embedding", "gptmodel::embedding_backward"}
    if not with_loops:
        assert "gptmodel::gelu" not in names
    assert torch.allclose(found, gradient_of(look_up), atol=1e-4)
