"""How much memory a piece of work takes: the peak above what the process had before. Linux only."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path


def begin() -> int:
    """Forget the peak so far, and return the bytes that are resident now."""
    ctypes.CDLL(None).malloc_trim(0)  # memory that is free but still ours would be used again, and not count
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_over(before: int) -> int:
    """Return how many bytes more than ``before`` were resident at most since :func:`begin`."""
    return max(_status("VmHWM") - before, 0)


def _status(name: str) -> int:
    """Return a size out of what the kernel says about this process."""
    match = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
