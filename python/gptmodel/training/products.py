"""Who multiplies fp32 matrices on a CPU: MKL, or oneDNN or AMX where that is faster and as exact.

torch takes MKL unless `torch.backends.mkldnn.matmul.fp32_precision` permits bf16 inside; then oneDNN
computes, and does what it likes with the permission. On a Zen 5 its products are about twice as fast as MKL's
and as exact; on a Xeon with AMX they really are bf16. Nothing says which, so both are tried on a shape of the
model before the first step. Products that are less exact are never taken, however fast.

A compiled model on a processor with AMX takes the products of `amx`, if they are as exact: by this rule and
not by a clock, so two runs of one configuration compute the same bits.

What was chosen is written into the configuration of the run, which keeps it when it is resumed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from gptmodel.model import ModelConfig
from gptmodel.training.cpu import amx
from gptmodel.training.cpu.graph import in_compiled_graphs

__all__ = ["Products", "choose_products", "using"]

Products = Literal["mkl", "onednn", "amx"]

WORTH = 1.2
"""oneDNN must be so many times as fast: less is within the noise, and two runs should choose the same."""

AS_EXACT = 2.0
"""And its error at most so many times MKL's."""

LEAST_WIDTH = 64
"""Narrower models spend no time in products."""

MOST_ROWS = 1024
REPEATS, ROUNDS = 2, 4


def choose_products(
    config: ModelConfig, rows: int, wanted: Products | Literal["auto"] = "auto", *, compiled: bool = False
) -> tuple[Products, str]:
    """The faster one that is exact for a model and a micro-batch of ``rows``, and a phrase that says why.

    ``wanted`` is taken without timing, if it is exact here: a run may be resumed on another computer. AMX
    needs a ``compiled`` model.
    """
    if wanted == "amx" or (wanted == "auto" and compiled and config.width >= amx.LEAST_SIZE):
        found = _choose_amx(*_factors(config, rows), compiled)
        if "amx" in (found[0], wanted):
            return found
    switch = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(switch, "fp32_precision"):
        return "mkl", "this torch has no switch"
    if wanted == "mkl" or (wanted == "auto" and config.width < LEAST_WIDTH):
        return "mkl", "it was asked for" if wanted == "mkl" else "the model is too narrow for it to matter"
    x, w = _factors(config, rows)
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
    seconds = dict.fromkeys(both, math.inf)
    for _ in range(ROUNDS):  # in turns, so that another program slows both down
        for products in both:
            with using(products):
                seconds[products] = min(seconds[products], timed(lambda: forward_and_backward(x, w)))
    faster = seconds["mkl"] / seconds["onednn"]
    chosen: Products = "onednn" if faster >= WORTH else "mkl"
    return chosen, f"oneDNN is {faster:.2f} times as fast as MKL and as exact: {said}"


def _factors(config: ModelConfig, rows: int) -> tuple[Tensor, Tensor]:
    """A product as a block of the model has it, of at most `MOST_ROWS` tokens."""
    generator = torch.Generator().manual_seed(0)
    tokens, width = min(rows * config.context_length, MOST_ROWS), config.width
    x = torch.randn(tokens, width, generator=generator)
    return x, torch.randn(width, config.feed_forward_width, generator=generator)


def _choose_amx(x: Tensor, w: Tensor, compiled: bool) -> tuple[Products, str]:
    if not compiled:
        return "mkl", "products on AMX are for compiled models: give --compile"
    multiply = amx.load()
    if multiply is None:
        return "mkl", "this processor, system or compiler has no products on AMX"
    error, usual = relative_error(x, w, multiply), relative_error(x, w)
    said = f"errors {error:.1g} and {usual:.1g}"
    if error > AS_EXACT * usual:
        return "mkl", f"products on AMX are not exact here: {said}"
    return "amx", f"three bf16 parts of each number are as exact as MKL: {said}"


@contextmanager
def using(products: Products | Literal["auto"], *, compiled: bool = False) -> Iterator[None]:
    """Inside, ``products`` multiplies; afterwards, who did before. MKL is what torch takes by itself.

    ``compiled`` says whether a model is compiled for a CPU inside: its graphs get the operators of `cpu`.
    """
    with ExitStack() as held:
        if products == "amx":
            held.enter_context(amx.in_compiled_graphs())
        if products == "onednn":
            held.enter_context(_bf16_permitted())
        if compiled:
            held.enter_context(in_compiled_graphs(mkl=products == "mkl"))
        yield


@contextmanager
def _bf16_permitted() -> Iterator[None]:
    """Inside, torch may multiply with bf16 numbers, so it takes oneDNN."""
    switch: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(switch, "fp32_precision"):
        yield
        return
    before = switch.fp32_precision
    switch.fp32_precision = "bf16"
    try:
        yield
    finally:
        switch.fp32_precision = before


def relative_error(x: Tensor, w: Tensor, multiply: Callable[[Tensor, Tensor], Tensor] = torch.mm) -> float:
    """The largest error of x w, against double precision, over the largest number in it."""
    exact = x.double() @ w.double()
    return float((multiply(x, w).double() - exact).abs().max() / exact.abs().max())


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
