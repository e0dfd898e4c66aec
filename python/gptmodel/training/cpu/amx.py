"""Exact products of fp32 matrices on a CPU with AMX, out of three bf16 parts of each number.

AMX multiplies bf16 numbers 16 times as fast as AVX-512 multiplies fp32 ones. Three parts of 8 bits hold the
24 bits of a number, and six products of parts hold the product as exactly as fp32 does: see
`split_products.cpp`. On a Sapphire Rapids the products of a GPT of 128 to 384 numbers are 1.2 to 1.6 times as
fast as MKL's; benches/LOG.md has the figures.

Only a compiled model uses them: a pass over the compiler's graphs replaces `aten.mm`. The C++ is compiled by
torch's own compiler of CPU loops and kept in its cache. `load` returns None wherever something is missing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["LEAST_SIZE", "has_amx", "in_compiled_graphs", "load"]

FOLDER = Path(__file__).parent
SOURCES = tuple(FOLDER / name for name in ("workspace.h", "transpose.h", "split_products.cpp"))

FLAGS = ("-mavx512f", "-mavx512bw", "-mavx512bf16", "-mamx-tile", "-mamx-bf16")

LEAST_SIZE = 96
"""A product with a side shorter than this is left to MKL: packing takes longer than is gained."""

Product = Callable[[Tensor, Tensor], Tensor]


def has_amx() -> bool:
    """Whether this processor has the instructions."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.11
    return all(capabilities.get(name) for name in ("amx_tile", "amx_bf16", "avx512_bf16"))


@cache
def load() -> Product | None:
    """The product (M, K) x (K, N) -> (M, N) of fp32 matrices; None where processor, system or compiler lack
    something.
    """
    if not has_amx():
        return None
    try:
        from torch._inductor.codecache import CppCodeCache

        library: Any = CppCodeCache.load(_source(), extra_flags=FLAGS)
    except Exception:  # compilers are missing or fail in many ways, and MKL is always there
        return None
    if library.split_products_allowed():
        return None
    number, pointer, integer = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
    call = library.split_products
    call.argtypes = [
        *(pointer, number, number), *(pointer, number, number), *(pointer, number), *[integer] * 4
    ]  # fmt: skip

    def product(a: Tensor, b: Tensor) -> Tensor:
        a, b = _with_unit_stride(a), _with_unit_stride(b)
        (rows, depth), columns = a.shape, b.shape[1]
        c = a.new_empty(rows, columns)
        if call(
            *(a.data_ptr(), *a.stride()), *(b.data_ptr(), *b.stride()), *(c.data_ptr(), columns),
            *(rows, columns, depth), torch.get_num_threads(),
        ):  # fmt: skip
            raise MemoryError(f"no memory to multiply matrices of {rows} x {depth} and {depth} x {columns}")
        return c

    return product


def _source() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)


def in_compiled_graphs() -> AbstractContextManager[None]:
    """Inside, graphs that torch compiles for a CPU multiply this way. `load` must have found the product."""
    from torch._inductor import config

    patched: AbstractContextManager[None] = config.patch(post_grad_custom_post_pass=_graph_pass())
    return patched


def _with_unit_stride(x: Tensor) -> Tensor:
    return x if 1 in x.stride() else x.contiguous()


@cache
def _graph_pass() -> Any:
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

    operator = _operator()

    class ReplaceProducts(CustomGraphPass):
        """Replaces the products of fp32 matrices that are large enough."""

        def __call__(self, graph: torch.fx.Graph) -> None:
            for node in graph.nodes:
                if node.target is torch.ops.aten.mm.default and _pays(*(n.meta["val"] for n in node.args)):
                    node.target = operator

        def uuid(self) -> Any:
            return get_hash_for_files((__file__, *map(str, SOURCES)))

    return ReplaceProducts()


def _pays(a: Tensor, b: Tensor) -> bool:
    sizes = [*a.shape, b.shape[1]]
    return (
        a.device.type == "cpu"
        and a.dtype == torch.float32
        and all(isinstance(size, int) and size >= LEAST_SIZE for size in sizes)
    )


@cache
def _operator() -> Any:
    """The product as an operator that torch's compiler knows."""
    product = load()
    assert product is not None
    library: Any = torch.library.Library("gptmodel", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define("split_product(Tensor a, Tensor b) -> Tensor")
    library.impl("split_product", product, "CPU")
    torch.library.register_fake(
        "gptmodel::split_product", lambda a, b: a.new_empty(a.shape[0], b.shape[1]), lib=library
    )
    _kept.append(library)
    return torch.ops.gptmodel.split_product.default


_kept: list[Any] = []
"""A library of operators is gone when nothing refers to it."""
