"""The head and the cross-entropy after it, without the logits of a whole batch in fp32.

Compiled, the plain formula is the fast one: the compiler reads the logits in the dtype of the activations
and makes the fp32 numbers in registers. Eager, `F.cross_entropy` holds three such matrices, tokens ×
vocabulary, which is 7 GB for 12 rows of GPT-2. Above `CHUNK_BYTES` the head is therefore computed for some
rows at a time, and since the loss is a sum its gradient is known in the same pass: softmax minus one at the
target. The logits of a chunk are dropped before the next one begins. The head's own gradient is added up in
fp32.

The columns of the product are padded to a multiple of `HEAD_MULTIPLE` on CUDA, where an odd 50,257 misses the
fast kernels; the weights are not, and no padded column has a part in the softmax.

Shapes: N tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["chunked_cross_entropy", "cross_entropy", "head"]

HEAD_MULTIPLE = 128
"""Columns of the head are padded to this multiple on CUDA."""

CHUNK_BYTES = 1 << 26
"""The most memory that the fp32 logits of one chunk take."""

Reduction = Literal["mean", "sum", "none"]


def head(
    x: Tensor, weight_VD: Tensor, *, softcap: float | None = None, multiple: int | None = None
) -> Tensor:
    """Logits (…, V) of the hidden states (…, D), in their dtype.

    ``multiple`` pads the columns of the product; left out, `HEAD_MULTIPLE` on CUDA and 1 elsewhere.
    """
    logits = F.linear(x, _padded(weight_VD.to(x.dtype), multiple))[..., : len(weight_VD)]
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def cross_entropy(
    x_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    softcap: float | None = None,
    ignore_index: int = -1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of the head's logits in nats, computed in fp32; "none" gives (N,).

    Targets equal to ``ignore_index`` do not count. In chunks where it saves memory and nothing compiles it.
    """
    whole = 4 * len(x_ND) * len(weight_VD)
    # fp16 needs the scale of the loss before its gradient is rounded, which a chunk cannot know
    if (
        whole > CHUNK_BYTES
        and reduction != "none"
        and x_ND.dtype != torch.float16
        and not torch.compiler.is_compiling()
    ):
        total = chunked_cross_entropy(x_ND, weight_VD, targets_N, softcap=softcap, ignore_index=ignore_index)
        return total if reduction == "sum" else total / (targets_N != ignore_index).sum()
    logits_NV = head(x_ND, weight_VD, softcap=softcap)
    return F.cross_entropy(logits_NV.float(), targets_N, ignore_index=ignore_index, reduction=reduction)


def chunked_cross_entropy(
    x_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    softcap: float | None = None,
    ignore_index: int = -1,
    rows: int | None = None,
    multiple: int | None = None,
) -> Tensor:
    """The sum of the cross-entropy, ``rows`` tokens at a time (left out: as `CHUNK_BYTES` allows).

    >>> x, weight, targets = torch.randn(6, 4), torch.randn(9, 4), torch.arange(6)
    >>> whole = F.cross_entropy(x @ weight.T, targets, reduction="sum")
    >>> torch.allclose(chunked_cross_entropy(x, weight, targets, rows=4), whole)
    True
    """
    if rows is None:
        rows = max(1, CHUNK_BYTES // (4 * len(weight_VD)))
    found: Tensor = _ChunkedCrossEntropy.apply(
        x_ND, weight_VD, targets_N, softcap, ignore_index, rows, multiple
    )  # type: ignore[no-untyped-call]
    return found


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The gradient for a loss weight of 1 is computed in the forward pass; the backward pass scales it."""

    @staticmethod
    def forward(
        ctx: Any,
        x_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        softcap: float | None,
        ignore_index: int,
        rows: int,
        multiple: int | None,
    ) -> Tensor:
        V = len(weight_VD)
        weight_PD = _padded(weight_VD.to(x_ND.dtype), multiple)
        dx_ND = torch.empty_like(x_ND) if ctx.needs_input_grad[0] else None
        dweight_PD = torch.zeros_like(weight_PD, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), device=x_ND.device)
        for start in range(0, len(x_ND), rows):
            x, targets = x_ND[start : start + rows], targets_N[start : start + rows]
            counted = targets != ignore_index
            at = targets.where(counted, 0)[:, None]
            logits = (x @ weight_PD.t()).float()
            tanh = None
            if softcap is not None:
                tanh = torch.tanh(logits / softcap)
                logits = softcap * tanh
            logits[:, V:] = -torch.inf
            normalizer = logits.logsumexp(1, keepdim=True)
            total += (normalizer - logits.gather(1, at))[:, 0].where(counted, 0).sum()
            if dx_ND is None and dweight_PD is None:
                continue
            gradient = logits.sub_(normalizer).exp_()
            gradient.scatter_add_(1, at, torch.full_like(normalizer, -1.0))
            gradient.mul_(counted[:, None])
            if tanh is not None:
                gradient.mul_(1 - tanh.square())
            narrow = gradient.to(x.dtype)
            if dx_ND is not None:
                dx_ND[start : start + rows] = narrow @ weight_PD
            if dweight_PD is not None:
                if x.dtype == torch.float32:
                    dweight_PD.addmm_(narrow.t(), x)
                else:
                    dweight_PD += narrow.t() @ x
        dweight_VD = None if dweight_PD is None else dweight_PD[:V].to(weight_VD.dtype)
        ctx.save_for_backward(dx_ND, dweight_VD)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        dx_ND, dweight_VD = ctx.saved_tensors
        (scale,) = gradients
        return (
            None if dx_ND is None else dx_ND * scale,
            None if dweight_VD is None else dweight_VD * scale,
            *(None,) * 5,
        )


def _padded(weight_VD: Tensor, multiple: int | None) -> Tensor:
    if multiple is None:
        multiple = HEAD_MULTIPLE if weight_VD.is_cuda else 1
    padding = -len(weight_VD) % multiple
    return F.pad(weight_VD, (0, 0, 0, padding)) if padding else weight_VD
