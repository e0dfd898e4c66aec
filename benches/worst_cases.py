"""Is encoding linear on every input? Times and memory of texts that are meant to be slow.

    python benches/worst_cases.py                     n up to 16 MB, so texts of 64 MB: an hour or more
    python benches/worst_cases.py --quick             n up to 256 KB: a few minutes
    python benches/worst_cases.py --only space --pattern gpt2 --all

For every input of the eleven families in ``_worst_inputs.py``, and every pattern, texts of n and 4n bytes
are encoded, n from 64 KB in steps of four. Each is encoded in a process of its own that has loaded the
tokenizer and encoded nothing yet (a fork of one that has), on one thread. Times are processor time, so that
others on the machine count less; a ratio above the limit is measured four times more, and the least times
count.

time(4n) / time(n) is to be at most 5 wherever time(4n) is above 50 ms, and the same for memory above 64 MB:
else the exit status is 1. The table has a row for every input, with the patterns for which it is worst.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import _memory
from _forks import FailedError, Measured, in_a_fork
from _worst_inputs import FAMILIES, INPUTS, Input, Text, from_tokens, powers

from gptbpe import Tokenizer

LIMIT = 5.0
"""The greatest ratio of the times, and of the memory, of 4n and n bytes."""
SHORTEST_S = 0.05
LEAST_MEMORY = 64 << 20
AGAIN = 4
SMALLEST = 1 << 16

# Patterns with the packaged ranks that they are measured with.
PATTERNS = {
    "gpt2": ("gpt2", "gpt2"),
    "cl100k": ("cl100k_base", "cl100k"),
    "o200k": ("o200k_base", "o200k"),
    "llama3": ("cl100k_base", "llama3"),
    "nanochat": ("cl100k_base", "nanochat"),
    "custom 1": ("gpt2", r"\s*[\r\n]+|\s"),
    "custom 2": ("gpt2", r"[\w.]+@[\w.]+|\w+|\s+|."),
}
SPECIAL = "<|endoftext|>"


@dataclass(frozen=True)
class Row:
    """Two texts of one kind, the second four times as long."""

    family: int
    input: str
    pattern: str
    bytes: int
    """Of the longer text."""
    seconds: float
    peak: int
    ratio: float | None
    """Of the times; ``None`` if they are too short."""
    memory_ratio: float | None
    problem: str = ""

    @property
    def is_bad(self) -> bool:
        ratios = [ratio for ratio in (self.ratio, self.memory_ratio) if ratio is not None]
        return bool(self.problem) or any(ratio > LIMIT for ratio in ratios)


# ---- measuring -----------------------------------------------------------------------------------


def encoded(tokenizer: Tokenizer, text: Text | list[Text], special: bool) -> Measured:
    """Encode, and measure that."""
    allowed = {"allowed_special": "all"} if special else {"disallowed_special": ()}
    before = _memory.begin()
    began = time.process_time()
    if isinstance(text, list):
        tokenizer.encode_ragged(text, threads=1, **allowed)
    else:
        tokenizer.encode_to_numpy(text, **allowed)
    seconds = time.process_time() - began
    return Measured(seconds, _memory.peak_over(before))


def measured(tokenizer: Tokenizer, text: Text | list[Text], special: bool, times: int = 1) -> Measured:
    """Return the least of some measurements."""
    all_of_them = [in_a_fork(lambda: encoded(tokenizer, text, special)) for _ in range(times)]
    return Measured(min(m.seconds for m in all_of_them), min(m.peak for m in all_of_them))


def length(text: Text | list[Text]) -> int:
    """Return the size of a text in bytes; a text in a list costs something even if it is empty."""
    if isinstance(text, list):
        return sum(map(length, text)) + 16 * len(text)
    return len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else len(text)


def ratios(shorter: Measured, longer: Measured) -> tuple[float | None, float | None]:
    """Return those of the times and of the memory, where they are large enough to tell something."""
    of_time = longer.seconds / max(shorter.seconds, 1e-6) if longer.seconds > SHORTEST_S else None
    of_memory = longer.peak / max(shorter.peak, 1) if longer.peak > LEAST_MEMORY else None
    return of_time, of_memory


def rows(kind: Input, tokenizers: dict[str, Tokenizer], greatest: int) -> Iterator[Row]:
    """Measure one kind of text with all patterns, n from the least size up to ``greatest``."""
    shorter: dict[str, tuple[Text | list[Text], Measured]] = {}
    gone_on_with = dict(tokenizers)
    size = SMALLEST
    while size <= 4 * greatest and gone_on_with:
        text = kind.make(size)
        count = length(text)
        for name, tokenizer in list(gone_on_with.items()):
            row = Row(kind.family, kind.name, name, count, 0.0, 0, None, None)
            try:
                result = measured(tokenizer, text, kind.special)
                if name in shorter:
                    before, first = shorter[name]
                    found = ratios(first, result)
                    if any(ratio is not None and ratio > LIMIT for ratio in found):
                        first = least(first, measured(tokenizer, before, kind.special, AGAIN))
                        result = least(result, measured(tokenizer, text, kind.special, AGAIN))
                        found = ratios(first, result)
                    yield replace(
                        row, seconds=result.seconds, peak=result.peak, ratio=found[0], memory_ratio=found[1]
                    )
                shorter[name] = (text, result)
            except FailedError as error:
                del gone_on_with[name]
                yield replace(row, problem=str(error))
        size *= 4


def least(one: Measured, other: Measured) -> Measured:
    """Return the lesser time and the lesser memory."""
    return Measured(min(one.seconds, other.seconds), min(one.peak, other.peak))


# ---- tokenizers ----------------------------------------------------------------------------------


def tokenizers(vocabulary: str, patterns: list[str]) -> dict[str, Tokenizer]:
    """Return a tokenizer for each pattern, none of which has encoded anything."""
    made = {}
    for name in patterns:
        packaged, pattern = PATTERNS[name]
        ranks = {bytes([byte]): byte for byte in range(256)}
        if vocabulary == "usual":
            ranks = Tokenizer.get(packaged).ranks()
        elif vocabulary == "powers":
            ranks |= {token: rank for rank, token in enumerate(powers(1 << 16), 256)}
        special = {SPECIAL: max(ranks.values()) + 1}
        made[name] = Tokenizer.from_ranks(ranks, pattern=pattern, special_tokens=special)
    return made


def loading(greatest: int) -> Iterator[Row]:
    """Measure how long it takes to make tokenizers of more and more tokens, of 16 bytes each."""
    before: Measured | None = None
    size = SMALLEST
    # There are at most 2^21 ids.
    while size <= min(4 * greatest, 1 << 24):
        tokens = (number.to_bytes(8, "big") * 2 for number in range(size // 16))
        ranks = {bytes([byte]): byte for byte in range(256)}
        ranks |= {token: rank for rank, token in enumerate(tokens, 256)}

        def make(ranks: dict[bytes, int] = ranks) -> Measured:
            resident = _memory.begin()
            began = time.process_time()
            Tokenizer.from_ranks(ranks, pattern="gpt2")
            return Measured(time.process_time() - began, _memory.peak_over(resident))

        result = in_a_fork(make)
        if before is not None:
            of_time, of_memory = ratios(before, result)
            yield Row(9, "load n/16 tokens", "gpt2", size, result.seconds, result.peak, of_time, of_memory)
        before = result
        size *= 4


# ---- the table -----------------------------------------------------------------------------------


def worst(found: list[Row], key: Callable[[Row], float | None]) -> Row | None:
    """Return the row where ``key`` is greatest, if it is known anywhere."""
    known = [(value, index) for index, row in enumerate(found) if (value := key(row)) is not None]
    return found[max(known)[1]] if known else None


def shown(value: float | None, row: Row | None) -> str:
    return f"{value:7.2f} {row.pattern:<9}" if value is not None and row is not None else f"{'-':>7} {'':<9}"


def line(found: list[Row]) -> str:
    """Return one line about one input: for the longest texts, the worst of all patterns."""
    longest = [row for row in found if row.bytes == max(row.bytes for row in found) and not row.problem]
    slowest = worst(longest, lambda row: row.seconds * 1e9 / row.bytes)
    largest = worst(longest, lambda row: row.peak / row.bytes)
    steepest = worst(found, lambda row: row.ratio)
    cells = [
        shown(slowest.seconds * 1e9 / slowest.bytes if slowest else None, slowest),
        shown(steepest.ratio if steepest else None, steepest),
        shown(largest.peak / largest.bytes if largest else None, largest),
    ]
    mark = "  <--" if any(row.is_bad for row in found) else ""
    return f"{found[0].family:>2}  {found[0].input:<26} {' '.join(cells)}{mark}"


def described(row: Row) -> str:
    """Return all about one row."""
    if row.problem:
        return f"{row.input}, {row.pattern}, {row.bytes:,} bytes: {row.problem}"
    parts = [f"{row.input}, {row.pattern}, {row.bytes:,} bytes: {row.seconds * 1e3:.1f} ms"]
    parts.append(f"{row.seconds * 1e9 / row.bytes:.1f} ns and {row.peak / row.bytes:.1f} bytes a byte")
    if row.ratio is not None:
        parts.append(f"time ratio {row.ratio:.2f}")
    if row.memory_ratio is not None:
        parts.append(f"memory ratio {row.memory_ratio:.2f}")
    return ", ".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure whether encoding is linear on every input.")
    parser.add_argument("--quick", action="store_true", help="n up to 256 KB instead of 16 MB")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="inputs and families whose name holds this"
    )
    parser.add_argument("--pattern", action="append", choices=PATTERNS, help="by default all")
    parser.add_argument("--all", action="store_true", help="print every measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    options = parser.parse_args()
    greatest = 1 << 18 if options.quick else 1 << 24
    patterns = options.pattern or list(PATTERNS)

    inputs = [*INPUTS, *from_tokens(list(Tokenizer.get("cl100k_base").ranks()))]
    inputs.sort(key=lambda kind: kind.family)
    made: dict[str, dict[str, Tokenizer]] = {}
    every: list[Row] = []

    def show(found: list[Row]) -> None:
        if found:
            every.extend(found)
            print(line(found), flush=True)
            for row in found:
                if options.all or row.is_bad:
                    print(f"      {described(row)}", flush=True)

    print(f"{'':>2}  {'worst of all patterns':<26} {'ns a byte':<17} {'time 4n/n':<17} memory a byte")
    family = 0
    for kind in inputs:
        if options.only not in kind.name and options.only not in FAMILIES[kind.family]:
            continue
        if kind.family != family:
            family = kind.family
            print(f"{family:>2}  {FAMILIES[family]}")
        if kind.vocabulary not in made:
            made[kind.vocabulary] = tokenizers(kind.vocabulary, patterns)
        show(list(rows(kind, made[kind.vocabulary], greatest)))
    if options.only in "load n/16 tokens":
        show(list(loading(greatest)))
    if options.json:
        content: list[dict[str, Any]] = [asdict(row) for row in every]
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    bad = [row for row in every if row.is_bad]
    print(f"{len(every)} pairs of sizes; {len(bad)} above the limit of {LIMIT:g}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
