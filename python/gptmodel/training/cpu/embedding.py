"""An embedding whose gradient is added up in one order, in compiled models too.

torch's compiler makes a loop of atomic additions of it: the threads add in whatever order they come, and two
equal runs end with different bits. torch's eager kernel gives each thread rows of its own. The operator
``gptmodel::embedding`` is that kernel, which the compiler does not look into.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["embedding_operator"]

_kept: list[Any] = []
"""A library of operators is gone when nothing refers to it."""


@cache
def embedding_operator() -> Any:
    """The operator ``(weight, ids) -> rows``, on the CPU.

    >>> embedding_operator()(torch.eye(3), torch.tensor([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    library: Any = torch.library.Library("gptmodel", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define("embedding(Tensor weight, Tensor ids) -> Tensor")
    library.define("embedding_backward(Tensor gradient, Tensor ids, int rows) -> Tensor")
    library.impl("embedding", lambda weight, ids: F.embedding(ids, weight), "CPU")
    library.impl("embedding_backward", _added, "CPU")
    register_fake = torch.library.register_fake
    register_fake("gptmodel::embedding", lambda weight, ids: F.embedding(ids, weight), lib=library)
    register_fake("gptmodel::embedding_backward", _shape, lib=library)
    torch.library.register_autograd("gptmodel::embedding", _backward, setup_context=_keep_ids, lib=library)
    _kept.append(library)
    return torch.ops.gptmodel.embedding.default


def _added(gradient: Tensor, ids: Tensor, rows: int) -> Tensor:
    found: Tensor = torch.ops.aten.embedding_dense_backward(gradient, ids, rows, -1, False)
    return found


def _shape(gradient: Tensor, ids: Tensor, rows: int) -> Tensor:
    return gradient.new_empty(rows, gradient.shape[-1])


def _keep_ids(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    weight, ids = inputs
    ctx.rows = len(weight)
    ctx.save_for_backward(ids)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (ids,) = ctx.saved_tensors
    return torch.ops.gptmodel.embedding_backward(gradient, ids, ctx.rows), None
