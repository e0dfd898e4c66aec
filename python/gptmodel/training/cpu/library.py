"""The C++ of this folder, compiled for a processor with AVX-512.

torch's own compiler of CPU loops compiles it and keeps it in its cache: 8 seconds once.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

__all__ = ["has_avx512", "library", "source"]

HEADERS = ("workspace.h", "transpose.h", "vectors.h")
SOURCES = (*HEADERS, "gelu.cpp", "attention.cpp", "products.cpp", "feed_forward.cpp", "operators.cpp")

FLAGS = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")


def has_avx512() -> bool:
    """Whether this processor has the instructions."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.11
    return all(capabilities.get(name) for name in ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl"))


def source() -> str:
    """The C++ of all operators."""
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in SOURCES)


@cache
def library() -> Any | None:
    """The compiled C++; None without AVX-512, a compiler or torch's stable interface (2.10)."""
    if not has_avx512():
        return None
    try:
        from torch._inductor.codecache import CppCodeCache

        found: Any = CppCodeCache.load(source(), extra_flags=FLAGS)
    except Exception:  # compilers are missing or fail in many ways, and torch's own loops are always there
        return None
    return found
