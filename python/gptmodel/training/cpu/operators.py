"""Operators of torch for the training step on a CPU with AVX-512, in C++ beside this file.

- ``gelu(x, tanh) -> (value, slope)``: both from one exponential, so that backward is one multiplication.
- ``attention(qkv, heads) -> (y, stats)``: causal attention whose scores stay in the cache. qkv is
  (B, T, J, K) with H heads of queries, then G of keys and G of values; y is (B, T, H, K).
- ``feed_forward(x, up, bias, down, activation) -> (y, h)``: a feed-forward layer, without the bias of
  ``down``, whose F numbers a token stay in the cache between its products. x is (N, D), h is (N, F), and
  ``activation`` is an index into `ACTIVATIONS`. In fp32, where torch has MKL (`has_products`).

`load` says whether they are there (see `library`). Only compiled models use them, see `graph`. Figures are in
benches/LOG.md.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gptmodel.training.cpu.library import library

__all__ = ["ACTIVATIONS", "has_products", "load"]

ACTIVATIONS = ("gelu", "gelu_tanh", "relu2")
"""The activations of ``feed_forward``, by their names in `ModelConfig`."""

AS_EXACT = 2.0
"""The largest error of an operator, in errors of torch's own."""


@cache
def load() -> bool:
    """Register the operators; False where they are missing or a result is less exact than torch's own."""
    found = library()
    if found is None:
        return False
    _register()
    return all(_errors_are_small())


def has_products() -> bool:
    """Whether ``feed_forward`` is there too."""
    found = library()
    return load() and found is not None and bool(found.gptmodel_has_products())


@cache
def _register() -> None:
    """Tell torch the shapes and the gradients of the operators."""
    library = torch.library
    library.register_fake("gptmodel::gelu", lambda x, tanh: (x.new_empty(x.shape), x.new_empty(x.shape)))
    library.register_fake("gptmodel::attention", _attention_shapes)
    library.register_fake(
        "gptmodel::attention_backward", lambda gradient, qkv, stats, heads: qkv.new_empty(qkv.shape)
    )
    library.register_fake("gptmodel::feed_forward", _feed_forward_shapes)
    library.register_fake("gptmodel::feed_forward_backward", _feed_forward_gradients)
    library.register_autograd("gptmodel::feed_forward", _feed_forward_backward, setup_context=_keep_layer)
    library.register_autograd("gptmodel::gelu", _gelu_backward, setup_context=_keep_slope)
    library.register_autograd("gptmodel::attention", _attention_backward, setup_context=_keep_qkv)


def _attention_shapes(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    B, T, _, K = qkv.shape
    return qkv.new_empty(B, T, heads, K), qkv.new_empty(B, heads, T, 2, dtype=torch.float32)


def _keep_slope(ctx: Any, inputs: tuple[Tensor, bool], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def _gelu_backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor, None]:
    (slope,) = ctx.saved_tensors
    return gradient * slope, None


def _keep_qkv(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    qkv, ctx.heads = inputs
    ctx.save_for_backward(qkv, output[1])


def _attention_backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor, None]:
    qkv, stats = ctx.saved_tensors
    return torch.ops.gptmodel.attention_backward(gradient, qkv, stats, ctx.heads), None


def _feed_forward_shapes(
    x: Tensor, up: Tensor, bias: Tensor | None, down: Tensor, activation: int
) -> tuple[Tensor, Tensor]:
    return x.new_empty(len(x), len(down)), x.new_empty(len(x), len(up))


def _feed_forward_gradients(
    gradient: Tensor, x: Tensor, h: Tensor, up: Tensor, bias: Tensor | None, down: Tensor, activation: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    bias_shape = 0 if bias is None else len(bias)
    return x.new_empty(x.shape), up.new_empty(up.shape), x.new_empty(bias_shape), down.new_empty(down.shape)


def _keep_layer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    x, up, bias, down, ctx.activation = inputs
    ctx.save_for_backward(x, output[1], up, bias, down)


def _feed_forward_backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, ...]:
    x, h, up, bias, down = ctx.saved_tensors
    dx, dup, dbias, ddown = torch.ops.gptmodel.feed_forward_backward(
        gradient, x, h, up, bias, down, ctx.activation
    )
    return dx, dup, None if bias is None else dbias, ddown, None


def _errors_are_small() -> list[bool]:
    """Whether values and gradients are as near to double precision as torch's own, for each operator."""
    draw = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(40, 53, generator=draw)
    qkv = torch.randn(2, 40, 6, 24, generator=draw)
    pairs = [
        (lambda x: torch.ops.gptmodel.gelu(x, False)[0], F.gelu, x),
        (lambda x: torch.ops.gptmodel.gelu(x, True)[0], lambda x: F.gelu(x, approximate="tanh"), x),
        (lambda x: torch.ops.gptmodel.attention(x, 2)[0], _attention, qkv),
    ]
    found = library()
    if found is not None and found.gptmodel_has_products():
        up, bias, down = (torch.randn(*shape, generator=draw) for shape in ((70, 53), (70,), (53, 70)))
        weights = up / 7, bias, down / 8
        pairs += [
            (
                partial(_ours, weights=weights, activation=activation),
                partial(_plain, weights=weights, name=name),
                x,
            )
            for activation, name in enumerate(ACTIVATIONS)
        ]
    return [_error(ours, torchs, x) <= AS_EXACT * _error(torchs, torchs, x) for ours, torchs, x in pairs]


def _ours(x: Tensor, weights: tuple[Tensor, Tensor, Tensor], activation: int) -> Tensor:
    found: Tensor = torch.ops.gptmodel.feed_forward(x, *weights, activation)[0]
    return found


def _plain(x: Tensor, weights: tuple[Tensor, Tensor, Tensor], name: str) -> Tensor:
    up, bias, down = (w.to(x.dtype) for w in weights)
    h = F.linear(x, up, bias)
    if name == "relu2":
        return F.linear(F.relu(h).square(), down)
    return F.linear(F.gelu(h, approximate="tanh" if name == "gelu_tanh" else "none"), down)


def _attention(qkv: Tensor) -> Tensor:
    q, k, v = qkv.transpose(1, 2).chunk(3, 1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def _error(function: Any, exactly: Any, x: Tensor) -> float:
    """The largest error of the values of a function and of its gradient, if it has one."""
    wide = x.double().requires_grad_()
    expected = exactly(wide)
    weights = torch.linspace(-1, 1, expected.numel()).view(expected.shape)
    narrow = x.detach().clone().requires_grad_()
    found = function(narrow)
    errors = [(found.detach().double() - expected.detach()).abs().max()]
    if found.requires_grad:
        (slope,) = torch.autograd.grad(expected, wide, weights.double())
        (found_slope,) = torch.autograd.grad(found, narrow, weights)
        errors.append((found_slope.double() - slope).abs().max())
    return float(max(errors))
