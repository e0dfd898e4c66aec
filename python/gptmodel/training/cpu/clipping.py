"""The norm of all gradients and their scaling to a limit, in C++: two passes over memory.

torch starts a loop for each tensor, which takes longer than the numbers of a small model.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gptmodel.training.cpu.library import library

__all__ = ["clip"]


def clip(gradients: Sequence[Tensor], limit: float, epsilon: float) -> Tensor | None:
    """Multiply ``gradients`` by limit / (norm + epsilon) where that is below 1; return their norm before.

    None, and nothing is changed, where the C++ is missing or a gradient is not plain, contiguous and fp32.
    """
    function = _function()
    if function is None or not all(map(_is_plain, gradients)):
        return None
    count = len(gradients)
    arrays = (ctypes.c_void_p * count)(*[g.data_ptr() for g in gradients])
    sizes = (ctypes.c_int64 * count)(*[g.numel() for g in gradients])
    return torch.tensor(function(arrays, sizes, count, limit, epsilon, torch.get_num_threads()))


def _is_plain(gradient: Tensor) -> bool:
    return (
        type(gradient) is Tensor  # no part of a divided one
        and gradient.dtype == torch.float32
        and gradient.device.type == "cpu"
        and gradient.is_contiguous()
    )


@cache
def _function() -> Any | None:
    found = library()
    if found is None:
        return None
    function = found.gptmodel_clip
    function.restype = ctypes.c_float
    function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int, ctypes.c_float, ctypes.c_float, ctypes.c_int]
    return function
