"""Losses over batches and loaders against one plain sum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from gptmodel import evaluate
from gptmodel.data import IGNORE_INDEX, SlidingWindowDataset, evaluation_windows
from gptmodel.errors import DataError
from gptmodel.model import GPT, ModelConfig

V, T = 17, 8


@pytest.fixture(scope="module")
def model() -> GPT:
    shape = ModelConfig(
        vocab_size=V, context_length=T, width=16, layers=2, heads=2, dropout=0.5, initialization="gpt2"
    )
    return GPT(shape, seed=3)


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, V, 101)


def plain(model: GPT, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        logits = model(inputs)
    return -F.log_softmax(logits.double(), -1).gather(-1, targets[..., None])[..., 0]


def test_batch_and_loader_are_the_mean_over_tokens(model: GPT, ids: np.ndarray) -> None:
    dataset = SlidingWindowDataset(ids, None, T, 3)
    inputs = torch.stack([dataset[i][0] for i in range(len(dataset))])
    targets = torch.stack([dataset[i][1] for i in range(len(dataset))])
    expected = plain(model, inputs, targets)
    assert evaluate.batch_loss(model, inputs, targets) == pytest.approx(float(expected.mean()), abs=1e-5)
    # 7 does not divide the number of windows: the short last batch must weigh less
    assert len(dataset) % 7
    loader = DataLoader(dataset, batch_size=7)
    assert evaluate.loss(model, loader) == pytest.approx(float(expected.mean()), abs=1e-5)
    assert evaluate.loss(model, loader, batches=2) == pytest.approx(float(expected[:14].mean()), abs=1e-5)


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_the_batch_size_does_not_matter(model: GPT, ids: np.ndarray, rows: int) -> None:
    found = evaluate.measure(model, evaluation_windows([ids], T, T, rows))
    assert found.tokens == len(ids) - 1
    reference = evaluate.measure(model, evaluation_windows([ids], T, T, 2))
    assert found.loss == pytest.approx(reference.loss, abs=1e-5)
    assert found.perplexity == pytest.approx(math.exp(found.loss))


def test_overlap_is_exact_against_one_context_per_token(model: GPT, ids: np.ndarray) -> None:
    """With stride 1 every target sees the T ids before it, as one forward pass for each would give."""
    found = evaluate.measure(model, evaluation_windows([ids], T, 1, 16))
    nats = []
    for place in range(1, len(ids)):
        before = torch.from_numpy(ids[max(0, place - T) : place])[None]
        nats.append(plain(model, before, torch.tensor([[*before[0, 1:].tolist(), int(ids[place])]]))[0, -1])
    assert found.tokens == len(nats)
    assert found.loss == pytest.approx(float(torch.stack(nats).mean()), abs=1e-5)


def test_bits_per_byte_divides_by_the_bytes_of_the_targets(model: GPT, ids: np.ndarray) -> None:
    lengths = torch.arange(V)
    found = evaluate.measure(model, evaluation_windows([ids], T, 3, 4), token_bytes=lengths)
    assert found.bytes == int(ids[1:].sum())
    assert found.bits_per_byte == pytest.approx(found.nats / math.log(2) / int(ids[1:].sum()))


def test_the_model_is_left_as_it_was(model: GPT, ids: np.ndarray) -> None:
    model.train()
    state = torch.get_rng_state()
    evaluate.measure(model, evaluation_windows([ids], T, T, 4))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_to_count_is_an_error(model: GPT) -> None:
    empty = torch.full((1, T), IGNORE_INDEX)
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate.measure(model, [(torch.zeros(1, T, dtype=torch.long), empty)])


def test_totals_need_no_double_precision_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """MPS has none; the sum of many batches is exact all the same."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoDoubles(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            assert not (isinstance(result, torch.Tensor) and result.dtype == torch.float64), func
            return result

    model = GPT(ModelConfig(vocab_size=300, context_length=8, width=8, layers=1, heads=1))
    ids = torch.arange(9).repeat(2, 1)
    with NoDoubles():
        found = evaluate.measure(model, [(ids[:, :-1], ids[:, 1:])] * 3)
    assert found.loss == pytest.approx(math.log(300), rel=1e-6)
