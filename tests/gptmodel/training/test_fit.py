"""How much fits: what autograd keeps is counted, and the count is one of windows."""

from __future__ import annotations

import pytest
import torch

from gptmodel.errors import ConfigError
from gptmodel.load import GPT
from gptmodel.model import ModelConfig
from gptmodel.training import fit
from gptmodel.training.fit import check_memory, equal_parts, fitting_rows, kept_bytes

SHAPE = ModelConfig(vocab_size=64, context_length=32, width=32, heads=2, layers=2)
CPU = torch.device("cpu")


def test_what_is_kept_grows_by_the_window_and_less_when_blocks_are_computed_again() -> None:
    model = GPT(SHAPE)
    one, two, four = (kept_bytes(model, rows) for rows in (1, 2, 4))
    assert four - two == 2 * (two - one) > 0
    assert two - one >= 4 * 32 * (2 * 32 + 64)  # logits and the inputs of two blocks at least
    model.checkpoint_blocks = True
    assert kept_bytes(model, 4) - kept_bytes(model, 2) < (four - two) / 2
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_a_mask_of_documents_takes_is_counted() -> None:
    model = GPT(SHAPE)
    plain, masked = ([kept_bytes(model, rows, wanted) for rows in (1, 2)] for wanted in (False, True))
    assert masked[1] - masked[0] > plain[1] - plain[0]
    room = [fitting_rows(model, 64, masked=wanted, free=lambda _: 2**22)[0] for wanted in (False, True)]
    assert room[1] <= room[0]


def test_counting_draws_no_random_number() -> None:
    model = GPT(SHAPE.model_copy(update={"dropout": 0.5})).train()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    kept_bytes(model, 2)
    assert torch.equal(torch.rand(1), expected)


def test_more_memory_takes_more_windows_up_to_all() -> None:
    model = GPT(SHAPE)
    found = [fitting_rows(model, 12, free=lambda _, mb=mb: mb * 2**20)[0] for mb in range(1, 60)]
    assert found == sorted(found)
    assert found[0] == 1
    assert found[-1] == 12
    assert set(found) <= {1, 2, 3, 4, 6, 12}
    assert fitting_rows(model, 12, free=lambda _: None)[0] == 12


@pytest.mark.parametrize(("rows", "most", "found"), [(12, 5, 4), (7, 6, 1), (8, 8, 8), (8, -3, 1)])
def test_parts_are_equal(rows: int, most: int, found: int) -> None:
    assert equal_parts(rows, most) == found


def test_a_model_that_no_memory_holds_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "host_memory", lambda: (2**20, 2**20))
    check_memory(SHAPE, CPU)  # 28 thousand parameters
    large = SHAPE.model_copy(update={"width": 256})
    with pytest.raises(ConfigError, match=r"1\.6\d*M parameters take .*MB to train, and this computer has"):
        check_memory(large, CPU)
    exact = sum(p.numel() for p in GPT(large).parameters())
    with pytest.raises(ConfigError, match=rf"{exact / 1e6:.2f}"):
        check_memory(large, CPU)
