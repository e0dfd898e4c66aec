"""Who multiplies fp32 matrices on a CPU: MKL, or oneDNN where that is faster and as exact.

torch takes MKL unless `torch.backends.mkldnn.matmul.fp32_precision` permits bf16 inside; then oneDNN
computes, and does what it likes with the permission. On a Zen 5 its products are about twice as fast as MKL's
and as exact; on a Xeon with AMX they really are bf16. Nothing says which, so both are tried on a shape of the
model before the first step. Products that are less exact are never taken, however fast.

What was chosen is written into the configuration of the run, which keeps it when it is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from gptmodel.model import ModelConfig

__all__ = ["Products", "choose_products", "using"]

Products = Literal["mkl", "onednn"]

WORTH = 1.2
"""oneDNN must be so many times as fast: less is within the noise, and two runs should choose the same."""

AS_EXACT = 2.0
"""And its error at most so many times MKL's."""

LEAST_WIDTH = 64
"""Narrower models spend no time in products."""

MOST_ROWS = 1024
REPEATS = 3


def choose_products(
    config: ModelConfig, rows: int, wanted: Products | Literal["auto"] = "auto"
) -> tuple[Products, str]:
    """The faster one that is exact for a model and a micro-batch of ``rows``, and a phrase that says why.

    ``wanted`` is taken without timing, if it is exact here: a run may be resumed on another computer.
    """
    switch = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(switch, "fp32_precision"):
        return "mkl", "this torch has no switch"
    if wanted == "mkl" or (wanted == "auto" and config.width < LEAST_WIDTH):
        return "mkl", "it was asked for" if wanted == "mkl" else "the model is too narrow for it to matter"
    generator = torch.Generator().manual_seed(0)
    tokens, width = min(rows * config.context_length, MOST_ROWS), config.width
    x = torch.randn(tokens, width, generator=generator)
    w = torch.randn(width, config.feed_forward_width, generator=generator)
    both: tuple[Products, Products] = ("mkl", "onednn")
    errors: dict[Products, float] = {}
    for products in both:
        with using(products):
            errors[products] = relative_error(x, w)
    said = f"errors {errors['onednn']:.1g} and {errors['mkl']:.1g}"
    if errors["onednn"] > AS_EXACT * errors["mkl"]:
        return "mkl", f"oneDNN's products are not exact here: {said}"
    if wanted == "onednn":
        return "onednn", f"it was asked for and is as exact as MKL: {said}"
    seconds: dict[Products, float] = {}
    for products in both:
        with using(products):
            seconds[products] = timed(lambda: forward_and_backward(x, w))
    faster = seconds["mkl"] / seconds["onednn"]
    chosen: Products = "onednn" if faster >= WORTH else "mkl"
    return chosen, f"oneDNN is {faster:.2f} times as fast as MKL and as exact: {said}"


@contextmanager
def using(products: Products | Literal["auto"]) -> Iterator[None]:
    """Inside, ``products`` multiplies; afterwards, who did before. MKL is what torch takes by itself."""
    switch: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if products != "onednn" or not hasattr(switch, "fp32_precision"):
        yield
        return
    before = switch.fp32_precision
    switch.fp32_precision = "bf16"
    try:
        yield
    finally:
        switch.fp32_precision = before


def relative_error(x: Tensor, w: Tensor) -> float:
    """The largest error of x @ w, against double precision, over the largest number in it."""
    exact = x.double() @ w.double()
    return float(((x @ w).double() - exact).abs().max() / exact.abs().max())


def forward_and_backward(x: Tensor, w: Tensor) -> None:
    """The three products of a linear layer in training."""
    y = x @ w
    torch.mm(y, w.t())
    torch.mm(x.t(), y)


def timed(work: Callable[[], None]) -> float:
    """The least seconds of several tries, after one that does not count."""
    work()
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)
