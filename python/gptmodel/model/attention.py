"""One attention function, three ways to compute it, and a report of which one really runs.

`attention` is causal softmax attention with grouped key and value heads. `kernel` picks who computes it:

- ``math``: written out, with an fp32 softmax. The slow twin: every other way is tested against it.
- ``sdpa``: `scaled_dot_product_attention`; PyTorch picks flash, cuDNN, memory efficient or its own math.
- ``flash``: PyTorch's flash kernel and nothing else; what it cannot compute is an error, not a slow surprise.
- ``auto``: FlexAttention where documents are masked on CUDA (it skips the blocks that SDPA would compute and
  throw away); ``math`` where a compiler sees it on a CPU and the context is short, because it fuses scale,
  mask and softmax (T 256: 10 % of the whole step); SDPA everywhere else.

On a CPU ``auto`` computes short bf16 attention in fp32. SDPA's bf16 kernel packs tiles for AMX one by one: at
128 positions of 32 numbers its forward and backward passes take three times as long as with the casts.

Which fused kernel SDPA takes depends on device, dtype, shape and library versions, and nothing says so when
it is a slower one. `watch_kernels` therefore runs a module once and watches which operators PyTorch
dispatches.

Shapes: B batch, H query heads, G key and value heads (G divides H), T queries, S keys, K head width.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.utils._python_dispatch import TorchDispatchMode

from gptmodel.model.config import Kernel

Mask = Tensor | BlockMask | None  # a tensor is bool, (B or 1, 1, T, S), True where attention is allowed


WRITTEN_OUT = 256
"""Up to so many positions, compiled attention on a CPU is written out."""

IN_FP32 = 128
"""And up to so many positions, attention in bf16 on a CPU computes in fp32."""

FLEX_LEAST_WIDTH = 16
"""FlexAttention takes no narrower heads."""


def is_written_out(device: torch.device, dtype: torch.dtype, positions: int) -> bool:
    """Whether a compiler should see attention written out, and not SDPA.

    In bf16 torch 2.13 compiles a backward pass whose gradients of queries and keys are NaN.
    """
    computed = torch.float32 if is_widened(device, dtype, positions) else dtype
    return device.type == "cpu" and computed == torch.float32 and positions <= WRITTEN_OUT


def is_widened(device: torch.device, dtype: torch.dtype, positions: int) -> bool:
    """Whether bf16 queries, keys and values are cast to fp32 before they are multiplied."""
    return device.type == "cpu" and dtype == torch.bfloat16 and positions <= IN_FP32


def attention(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    *,
    mask: Mask = None,
    dropout: float = 0.0,
    kernel: Kernel = "auto",
) -> Tensor:
    """Causal softmax attention, shape (B, H, T, K).

    The T queries are the last T of the S positions: T = S in training and prefill, T < S when a cache holds
    the rest. `mask` replaces the causal rule; make it with `document_mask`. `dropout` drops attention
    probabilities.
    """
    if mask is not None and not isinstance(mask, Tensor):
        if dropout:
            raise ValueError("FlexAttention drops no probabilities: make the mask for the kernel sdpa")
        return _flex(q_BHTK, k_BGSK, v_BGSK, mask)
    T, S = q_BHTK.shape[-2], k_BGSK.shape[-2]
    if mask is None and 1 < T < S:
        mask = torch.ones(T, S, dtype=torch.bool, device=q_BHTK.device).tril(S - T)
    causal = mask is None and T > 1
    if kernel == "auto" and T == S:
        dtype = q_BHTK.dtype
        if is_widened(q_BHTK.device, dtype, T):
            wide = (x.float() for x in (q_BHTK, k_BGSK, v_BGSK))
            return attention(*wide, mask=mask, dropout=dropout).to(dtype)
        if torch.compiler.is_compiling() and is_written_out(q_BHTK.device, dtype, T):
            kernel = "math"
    if kernel == "math":
        return math_attention(q_BHTK, k_BGSK, v_BGSK, mask=mask, causal=causal, dropout=dropout)
    grouped = q_BHTK.shape[1] != k_BGSK.shape[1]

    def fused() -> Tensor:
        return F.scaled_dot_product_attention(
            q_BHTK, k_BGSK, v_BGSK, attn_mask=mask, dropout_p=dropout, is_causal=causal, enable_gqa=grouped
        )

    if kernel == "flash":
        if mask is not None:
            raise ValueError("flash attention takes no document mask: use the kernel auto or sdpa")
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return fused()
    return fused()


def math_attention(
    q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, *, mask: Tensor | None, causal: bool, dropout: float = 0.0
) -> Tensor:
    """Attention as the formula says it: softmax(q kᵀ / √K + mask) v, with the softmax in fp32."""
    groups = q_BHTK.shape[1] // k_BGSK.shape[1]
    k_BHSK, v_BHSK = k_BGSK, v_BGSK
    if groups > 1:
        k_BHSK, v_BHSK = k_BGSK.repeat_interleave(groups, 1), v_BGSK.repeat_interleave(groups, 1)
    scores_BHTS = (q_BHTK @ k_BHSK.transpose(-2, -1)).float() * q_BHTK.shape[-1] ** -0.5
    if causal:
        mask = torch.ones(scores_BHTS.shape[-2:], dtype=torch.bool, device=q_BHTK.device).tril()
    if mask is not None:
        scores_BHTS = scores_BHTS.masked_fill(~mask, float("-inf"))
    probabilities_BHTS = F.dropout(scores_BHTS.softmax(-1), dropout).to(v_BHSK.dtype)
    return probabilities_BHTS @ v_BHSK


def document_mask(documents_BT: Tensor, kernel: Kernel = "auto") -> Mask:
    """What may be seen when each position sees only earlier positions of its own document.

    `documents_BT` numbers the document of every token. On CUDA with kernel "auto" the result is a
    FlexAttention block mask; everywhere else it is a bool tensor (B, 1, T, T).
    """
    if kernel == "auto" and documents_BT.is_cuda:
        return _block_mask(documents_BT)
    same_B1TT = (documents_BT[:, :, None] == documents_BT[:, None, :])[:, None]
    return same_B1TT.tril()


class KeyValueCache:
    """Keys and values of the positions seen so far, in buffers of the shape (layers, B, G, S, K) allocated
    once.

    `length` of the S positions are filled. A forward pass appends to every layer, then calls `advance`.
    """

    def __init__(self, shape: tuple[int, int, int, int, int], *, dtype: torch.dtype, device: torch.device):
        self.keys_LBGSK = torch.empty(shape, dtype=dtype, device=device)
        self.values_LBGSK = torch.empty_like(self.keys_LBGSK)
        self.capacity, self.length = shape[3], 0

    def append(self, layer: int, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Store T new positions of one layer; return views of all its positions, (B, G, length + T, K)."""
        end = self.length + k_BGTK.shape[-2]
        if end > self.capacity:
            raise ValueError(f"the key-value cache holds {self.capacity} positions, {end} were asked of it")
        self.keys_LBGSK[layer, :, :, self.length : end] = k_BGTK
        self.values_LBGSK[layer, :, :, self.length : end] = v_BGTK
        return self.keys_LBGSK[layer, :, :, :end], self.values_LBGSK[layer, :, :, :end]

    def advance(self, positions: int) -> None:
        self.length += positions

    def clear(self) -> None:
        self.length = 0


def watch_kernels(call: Callable[[Tensor], Tensor], x: Tensor) -> tuple[str, str]:
    """The kernels of ``call(x)`` and of its backward pass to ``x``, by what PyTorch dispatches when they run.

    Without a fused kernel the name begins with "math". No gradient is left behind on any parameter. On a CPU
    the names are those in the graph of autograd, since watching the dispatcher loads the compiler: 2 seconds.

    Example:
        >>> x = torch.zeros(1, 2, 16, 8)
        >>> watch_kernels(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), x)
        ('sdpa: flash (CPU)', 'sdpa: flash (CPU)')
    """
    x = x.detach().requires_grad_()
    with warnings.catch_warnings(action="ignore"):
        if x.device.type == "cpu":
            y = call(x)
            name = _kernel_name(_differentiated(y))
            torch.autograd.grad(y.sum(), x)
            return name, name
        with _WatchOperators() as forward:
            y = call(x)
        with _WatchOperators() as backward:
            torch.autograd.grad(y.sum(), x)
    return _kernel_name(forward.names), _kernel_name(backward.names)


def _differentiated(y: Tensor) -> list[str]:
    """The names of the operators that autograd differentiates to reach ``y``."""
    found, nodes = [], [y.grad_fn]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node is None:
            continue
        camel = node.name().removesuffix("Backward0")
        found.append(re.sub("(?=[A-Z])", "_", camel).lower())
        fresh = {following for following, _ in node.next_functions} - seen
        seen |= fresh
        nodes.extend(fresh)
    return found


def _kernel_name(operators: list[str]) -> str:
    fused = [name.removesuffix("_backward") for name in operators if "scaled_dot_product" in name]
    if not fused:
        return "sdpa: math (no fused kernel takes this shape)"
    return f"sdpa: {_KERNEL_NAMES.get(fused[0], fused[0])}"


_KERNEL_NAMES = {
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_flash_attention_for_cpu": "flash (CPU)",
    "_scaled_dot_product_cudnn_attention": "cuDNN",
    "_scaled_dot_product_efficient_attention": "memory efficient",
    "_scaled_dot_product_fused_attention_overrideable": "fused (device plug-in)",
    "_scaled_dot_product_attention_math_for_mps": "MPS",
}


class _WatchOperators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the names of the operators that PyTorch dispatches."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func._schema.name.split("::")[-1])
        return func(*args, **(kwargs or {}))


def _block_mask(documents_BT: Tensor) -> BlockMask:
    B, T = documents_BT.shape

    def allowed(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (documents_BT[b, query] == documents_BT[b, key])

    return create_block_mask(allowed, B, None, T, T, device=str(documents_BT.device))


def _flex(q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, mask: BlockMask) -> Tensor:
    grouped = q_BHTK.shape[1] != k_BGSK.shape[1]
    # A compiled model fuses the plain function; called eagerly it would fill the whole score matrix.
    function: Any = flex_attention if torch.compiler.is_compiling() else _compiled_flex()
    y_BHTK: Tensor = function(q_BHTK, k_BGSK, v_BGSK, block_mask=mask, enable_gqa=grouped)
    return y_BHTK


@cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention)
