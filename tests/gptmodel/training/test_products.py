"""Who multiplies: never the one that is less exact, and the faster one of two that are."""

from __future__ import annotations

import pytest
import torch

from gptmodel.model import ModelConfig
from gptmodel.training import products
from gptmodel.training.products import choose_products, relative_error, using

SHAPE = ModelConfig(vocab_size=64, context_length=32, width=64, heads=2, layers=1)
SWITCH = getattr(torch.backends.mkldnn, "matmul", None)
pytestmark = pytest.mark.skipif(not hasattr(SWITCH, "fp32_precision"), reason="torch has no switch")


def pretend(monkeypatch: pytest.MonkeyPatch, *, error: float, seconds: float) -> None:
    """Give oneDNN's products an error and a time; MKL's are 1e-7 and 1."""
    before = SWITCH.fp32_precision  # type: ignore[union-attr]

    def switched() -> bool:
        return bool(SWITCH.fp32_precision != before)  # type: ignore[union-attr]

    monkeypatch.setattr(products, "relative_error", lambda *_: error if switched() else 1e-7)
    monkeypatch.setattr(products, "timed", lambda _: seconds if switched() else 1.0)


@pytest.mark.parametrize(
    ("error", "seconds", "chosen", "why"),
    [
        (1e-7, 0.5, "onednn", "2.00 times as fast as MKL and as exact"),
        (1e-7, 0.9, "mkl", "1.11 times as fast"),
        (2.4e-3, 0.1, "mkl", "not exact here"),
    ],
)
def test_the_faster_one_is_taken_only_where_it_is_exact(
    monkeypatch: pytest.MonkeyPatch, error: float, seconds: float, chosen: str, why: str
) -> None:
    pretend(monkeypatch, error=error, seconds=seconds)
    found, said = choose_products(SHAPE, 4)
    assert found == chosen
    assert why in said


def test_what_was_chosen_elsewhere_is_kept_only_where_it_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, error=1e-7, seconds=5.0)
    assert choose_products(SHAPE, 4, "onednn")[0] == "onednn"
    assert choose_products(SHAPE, 4, "mkl")[0] == "mkl"
    pretend(monkeypatch, error=2.4e-3, seconds=0.1)
    found, said = choose_products(SHAPE, 4, "onednn")
    assert (found, "not exact here" in said) == ("mkl", True)


def test_what_is_chosen_here_is_exact_and_the_switch_is_set_back() -> None:
    before = SWITCH.fp32_precision  # type: ignore[union-attr]
    chosen, _ = choose_products(SHAPE, 4)
    assert SWITCH.fp32_precision == before  # type: ignore[union-attr]
    x, w = torch.randn(128, 64), torch.randn(64, 256)
    exact = relative_error(x, w)
    with using(chosen):
        assert relative_error(x, w) <= 2 * exact


def test_a_narrow_model_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "timed", pytest.fail)
    assert choose_products(SHAPE.model_copy(update={"width": 32}), 4)[0] == "mkl"
