"""What a run says about itself: ``metrics.jsonl``, TensorBoard, ``samples.txt`` and the line that moves.

``metrics.jsonl`` is the record and everything else a view of it: one JSON object a line, appended and
flushed, so a crash costs at most the line being written, which the reader passes over. A resumed run cuts
what lies after its checkpoint, so that no step appears twice.

MFU is floating-point operations that training needs, over the card's peak at the precision in use, by both
conventions: ``mfu`` counts attention in full (PaLM, nanoGPT), ``mfu_causal`` the half that a causal kernel
computes. A card that is not in the table has no MFU rather than somebody else's.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import torch
from tqdm import tqdm

__all__ = ["Progress", "RunLog", "bits_per_byte", "human", "peak_flops", "read_metrics"]

METRICS = "metrics.jsonl"
SAMPLES = "samples.txt"
COORDINATES = {"epoch", "tokens", "evaluated_tokens", "seconds"}
"""What is plotted against, not looked at: in ``metrics.jsonl``, but no curve in TensorBoard."""

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
    """Peak floating-point operations a second of a card at ``precision`` (fp32, bf16, fp16); None when not
    known.

    >>> peak_flops("NVIDIA H200", "bf16")
    989500000000000.0
    """
    for name, half, single in PEAKS:
        if name in device_name:
            return (single if precision == "fp32" else half) * 1e12
    return None


def bits_per_byte(total_nats: float, total_bytes: float) -> float | None:
    """The cost of text in bits for each of its bytes: comparable between tokenizers. None without bytes.

    >>> round(bits_per_byte(total_nats=8 * math.log(2), total_bytes=4), 6)
    2.0
    """
    return total_nats / math.log(2) / total_bytes if total_bytes > 0 else None


def human(number: float) -> str:
    """A number for people: 999, 12.3k, 4.56M.

    >>> human(12345), human(4_560_000)
    ('12.3k', '4.56M')
    """
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}" if isinstance(number, float) else str(number)


def read_metrics(run: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Every whole line of a run's ``metrics.jsonl``. Lines that a crash left torn are passed over."""
    path = Path(run) / METRICS
    lines = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            lines.append(record)
    return lines


class RunLog:
    """Writes a run's records; a context manager. ``resumed_at`` is the number of steps already done."""

    def __init__(self, run: Path, *, resumed_at: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a second of imports that only a run needs

        self.run = run
        if resumed_at:
            _cut_after(run, resumed_at)
        self._file = (run / METRICS).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run), purge_step=resumed_at + 1 if resumed_at else None)

    def scalars(self, kind: str, step: int, values: dict[str, float | int | None]) -> None:
        """One line of ``metrics.jsonl``; a point in each TensorBoard curve, `COORDINATES` apart."""
        known = {k: v for k, v in values.items() if v is not None}
        self._file.write(
            json.dumps({"kind": kind, "step": step, "time": round(time.time(), 3), **known}) + "\n"
        )
        self._file.flush()
        for name, value in known.items():
            if name not in COORDINATES:
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def sample(self, step: int, text: str) -> None:
        """A text that the model wrote, to ``samples.txt`` and TensorBoard."""
        with (self.run / SAMPLES).open("a", encoding="utf-8") as file:
            file.write(f"=== step {step} ===\n{text}\n\n")
        self._board.add_text("sample", f"```\n{text}\n```", step)

    def text(self, name: str, text: str, step: int = 0) -> None:
        """A text for TensorBoard, such as the configuration."""
        self._board.add_text(name, f"```toml\n{text}\n```", step)

    def flush(self) -> None:
        self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()


def _cut_after(run: Path, step: int) -> None:
    """Drop the records of steps that a resumed run will do again."""
    path = run / METRICS
    if not path.exists():
        return
    kept = [record for record in read_metrics(run) if record["step"] <= step]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    temporary.replace(path)


class Progress:
    """The line that moves: a bar on a terminal, a plain line every ``seconds`` elsewhere (logs of SLURM or
    CI).
    """

    def __init__(
        self, total: int, done: int = 0, *, stream: TextIO | None = None, seconds: float = 10.0
    ) -> None:
        self.total, self.stream, self.seconds = total, stream or sys.stderr, seconds
        self._moves = self.stream.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="step",
            file=self.stream,
            dynamic_ncols=True,
            disable=not self._moves,
        )
        self._said, self._started, self._first = time.monotonic(), time.monotonic(), done

    def step(self, done: int, values: dict[str, str]) -> None:
        """``done`` steps are done; ``values`` are shown behind the bar."""
        if self._moves:
            with suppress(OSError):
                self._bar.set_postfix(values, refresh=False)
                self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._said >= self.seconds or done == self.total:
            self._said = now
            left = (now - self._started) / max(1, done - self._first) * (self.total - done)
            shown = "  ".join(f"{name} {value}" for name, value in values.items())
            self.say(f"step {done}/{self.total}  {shown}  ETA {_clock(left)}")

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        with suppress(OSError):  # nobody listening, or a full log, is no reason to end a run
            if self._moves:
                self._bar.write(text, file=self.stream)
            else:
                print(text, file=self.stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def memory_bytes(device: torch.device) -> int | None:
    """The most memory that tensors have held on the device; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
