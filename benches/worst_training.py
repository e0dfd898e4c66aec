"""Is training linear on every text? Seconds and memory for texts of 1, 2, 4, 8 and 16 MB (of 2^20 bytes).

    python benches/worst_training.py                      eleven texts, five sizes: ten minutes or less
    python benches/worst_training.py --megabytes 2        up to 2 MB: a quick look
    python benches/worst_training.py --only Fibonacci --pattern cl100k

Each training is in a process of its own (a fork of this one) on one thread; the time is processor time, the
least of ``--times``. The exponent is the slope of the line through log(seconds) by log(bytes), where seconds
are above 50 ms: 1 is linear, 2 quadratic. Above 1.15, or where a training fails, the exit status is 1. The
vocabulary is the same for all sizes. Linux only.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import linear_regression

import _memory
from _forks import FailedError, Measured, in_a_fork
from _worst_inputs import TRAINING, Input

from gptbpe import Tokenizer
from gptbpe.errors import EarlyStopWarning

LIMIT = 1.15
"""The greatest exponent."""
SHORTEST_S = 0.05


@dataclass(frozen=True)
class Row:
    """One text in several sizes."""

    input: str
    bytes: list[int]
    seconds: list[float]
    peaks: list[int]
    """Bytes of memory more than before, at most."""
    exponent: float | None
    """``None`` if fewer than three times are long enough."""
    problem: str = ""

    @property
    def is_bad(self) -> bool:
        return bool(self.problem) or (self.exponent is not None and self.exponent > LIMIT)


def trained(text: bytes, vocab_size: int, pattern: str) -> Measured:
    """Train, and measure that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)
        before = _memory.begin()
        began = time.process_time()
        Tokenizer.train([text], vocab_size, pattern=pattern, threads=1)
        return Measured(time.process_time() - began, _memory.peak_over(before))


def row(kind: Input, sizes: list[int], vocab_size: int, pattern: str, times: int) -> Row:
    """Measure one text in all sizes."""
    found = Row(kind.name, [], [], [], None)
    problem = ""
    for size in sizes:
        made = kind.make(size)
        assert isinstance(made, (str, bytes))
        text = made.encode() if isinstance(made, str) else made
        work = partial(trained, text, vocab_size, pattern)
        try:
            measured = [in_a_fork(work) for _ in range(times)]
        except FailedError as error:
            problem = f"{len(text):,} bytes: {error}"
            break
        found.bytes.append(len(text))
        found.seconds.append(min(each.seconds for each in measured))
        found.peaks.append(min(each.peak for each in measured))
    return Row(kind.name, found.bytes, found.seconds, found.peaks, exponent(found), problem)


def exponent(found: Row) -> float | None:
    """Return the slope in the plot of log(seconds) by log(bytes)."""
    long = [(size, took) for size, took in zip(found.bytes, found.seconds, strict=True) if took > SHORTEST_S]
    if len(long) < 3:
        return None
    return linear_regression([math.log(size) for size, _ in long], [math.log(took) for _, took in long]).slope


def line(found: Row, sizes: list[int]) -> str:
    """Return one line of the table."""
    seconds = [f"{each:8.3f}" for each in found.seconds] + [" " * 8] * (len(sizes) - len(found.seconds))
    peak = f"{found.peaks[-1] / found.bytes[-1]:9.1f}" if found.peaks else " " * 9
    slope = "        -" if found.exponent is None else f"{found.exponent:9.2f}"
    mark = f"  <-- {found.problem}" if found.is_bad else ""
    return f"{found.input:<26} {' '.join(seconds)} {slope} {peak}{mark}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--megabytes", type=float, default=16, help="of the longest text (default: 16)")
    add("--vocab", type=int, default=32_768, help="tokens to learn (default: 32768)")
    add("--pattern", default="gpt2", metavar="NAME", help="(default: gpt2)")
    add("--times", type=int, default=1, help="trainings of each text, of which the least counts (default: 1)")
    add("--only", action="append", metavar="TEXT", help="only texts with this in their name; may be repeated")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args()
    sizes = [int(options.megabytes * (1 << 20)) >> halvings for halvings in (4, 3, 2, 1, 0)]

    shown = [f"{f'{size / (1 << 20):g} MB':>8}" for size in sizes]
    print(f"{'seconds':<26} {' '.join(shown)}  exponent  memory a byte")
    found = []
    for kind in TRAINING:
        if options.only and not any(part in kind.name for part in options.only):
            continue
        found.append(row(kind, sizes, options.vocab, options.pattern, options.times))
        print(line(found[-1], sizes), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    bad = sum(each.is_bad for each in found)
    print(f"{len(found)} texts; {bad} with an exponent above {LIMIT:g}, or without a vocabulary")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
