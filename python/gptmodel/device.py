"""Where a run computes and in which numbers, decided once and said at start-up; what its device can do.

A card that is not in the table of peaks has none, rather than somebody else's.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Literal

import torch

from gptmodel.errors import ConfigError
from gptmodel.units import counted

__all__ = [
    "Precision",
    "bf16_is_fast",
    "bf16_is_slow",
    "compute_dtype",
    "describe_device",
    "free_memory",
    "host_memory",
    "keep_freed_memory",
    "memory_bytes",
    "peak_flops",
    "pick_device",
    "pick_precision",
    "set_product_precision",
    "set_threads",
]

Precision = Literal["fp32", "tf32", "bf16", "fp16"]

MALLOC_KEEPS = 1 << 30
"""Bytes of freed memory that the allocator keeps for the next step, see `keep_freed_memory`."""

MALLOC_SETTINGS = {"MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}


def pick_device(name: str) -> torch.device:
    """The device called ``name``; "auto" is CUDA, else MPS, else the CPU. Raises ConfigError when it is not
    there.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ConfigError(
            f"device {name!r} is none of auto, cpu, cuda, cuda:1, mps: try --device auto"
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used: {first}; try --device auto") from None
    return device


def pick_precision(name: str, device: torch.device) -> Precision:
    """What "auto" means: bf16 on a card that has it, fp16 on an older one, fp32 elsewhere.

    tf32 is fp32 whose matrix products are rounded to 10 bits of fraction. Raises ConfigError off CUDA.
    """
    if name == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name == "tf32" and device.type != "cuda":
        raise ConfigError(f"precision tf32 is for CUDA, and this is {device.type}: take fp32")
    return name  # type: ignore[return-value]  # the configuration admits no other


def compute_dtype(precision: Precision) -> torch.dtype | None:
    """What activations flow in: None is the weights' own fp32."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def set_product_precision(precision: Precision, device: torch.device) -> None:
    """Let products of fp32 matrices on a card be rounded as ``precision`` says, in this process."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def set_threads(count: int | None) -> None:
    """Let torch compute with ``count`` threads on the CPU, in this process; None leaves them as they are."""
    if count is not None:
        torch.set_num_threads(count)


def bf16_is_fast(device: torch.device) -> bool:
    """Whether the device is known to multiply bf16 numbers faster than fp32 ones.

    On a CPU, those with AMX do (twice in the recipe of benches/train_step.py), and Arm's with bf16 products.
    AVX-512's bf16 products are half as fast as fp32 ones on an Emerald Rapids, and others convert.
    """
    capabilities = _cpu_capabilities()
    return device.type != "cpu" or bool(capabilities.get("amx_bf16") or capabilities.get("bf16"))


def bf16_is_slow(device: torch.device) -> bool:
    """Whether the device is a CPU that is known to multiply bf16 numbers more slowly than fp32 ones."""
    return bool(_cpu_capabilities()) and not bf16_is_fast(device)


def _cpu_capabilities() -> dict[str, object]:
    """What torch (2.11 or later) says of the processor."""
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return found


def describe_device(device: torch.device) -> str:
    """The card's name, or the CPU with the threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {counted(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else device.type


def keep_freed_memory() -> bool:
    """Let glibc's malloc keep freed memory of this process instead of returning it to the system.

    A step on a CPU frees and takes the same hundreds of megabytes again and again; by default each large
    block is a new mapping, whose pages the kernel clears once more. False where there is no glibc. What is
    set in the environment (`MALLOC_SETTINGS`) stays.
    """
    if not sys.platform.startswith("linux") or MALLOC_SETTINGS & os.environ.keys():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has no mallopt
        return False
    trim_threshold, most_mappings = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    return bool(mallopt(most_mappings, 0) and mallopt(trim_threshold, MALLOC_KEEPS))


def free_memory(device: torch.device) -> int | None:
    """Bytes that tensors may still take on the device; None where nothing says so."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return host_memory()[1] if device.type == "cpu" else None


def host_memory() -> tuple[int | None, int | None]:
    """Bytes of the computer's memory, all and available, as the system and a container's limit allow."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        whole, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return None, None
    try:  # a container's limit (cgroup 2); "max" is none
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return whole, available
    return min(whole, limit), min(available, max(0, limit - used))


def memory_bytes(device: torch.device) -> int | None:
    """The most memory that tensors have held on the device; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


# Dense peak in TFLOP/s: (16-bit matrix products with fp32 accumulation, fp32 outside the tensor cores). From
# the vendors' data sheets, without sparsity. The first name found in the device's name counts, so long names
# come first.
PEAKS: tuple[tuple[str, float, float], ...] = (
    ("B200", 2250.0, 75.0),
    ("H200", 989.5, 67.0),
    ("H100 PCIe", 756.0, 51.0),
    ("H100 NVL", 835.0, 60.0),
    ("H100", 989.5, 67.0),
    ("H20", 148.0, 44.0),
    ("A100", 312.0, 19.5),
    ("L40S", 362.0, 91.6),
    ("L4", 121.0, 30.3),
    ("4090", 165.2, 82.6),
    ("3090", 71.0, 35.6),
    ("V100", 125.0, 15.7),
    ("T4", 65.0, 8.1),
)


def peak_flops(device_name: str, precision: str) -> float | None:
    """Peak floating-point operations a second of a card at ``precision``; None when not known.

    That of tf32 is half of the 16-bit one, on every card that has it.

    >>> peak_flops("NVIDIA H200", "bf16")
    989500000000000.0
    """
    for name, half, single in PEAKS:
        if name in device_name:
            return {"fp32": single, "tf32": half / 2}.get(precision, half) * 1e12
    return None
