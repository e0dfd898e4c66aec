"""Does a long run take more and more memory? Resident memory at some step against that at the last.

    python tests/faults/memory_of_training.py                          5,000 steps: some minutes
    python tests/faults/memory_of_training.py --from 20 --steps 60     short: what the tests run

The run evaluates, writes samples and saves many times on the way, as a long one does. Prints resident memory
at ten steps, and leaves with 1 when it grew by more than ``--most`` MiB.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from gptmodel.config import compose
from gptmodel.training import loop

SHAPE = {
    "context_length": 32, "width": 32, "heads": 2, "layers": 2, "batch_size": 8, "eval_batches": 2,
    "sample_tokens": 16, "vocab": 270,
}  # fmt: skip


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(folder: Path, first: int, steps: int) -> dict[int, int]:
    """Resident memory by step, from ``first`` to ``steps``, ten times."""
    text = folder / "text.txt"
    text.write_text("".join(f"line {number} of a text of {number % 97} kinds\n" for number in range(5000)))
    os.environ["GPTMODEL_CACHE"] = str(folder / "cache")
    wanted = {first + (steps - first) * k // 9 for k in range(10)}
    found: dict[int, int] = {}
    step = loop.train_step

    def stepping(state: Any, *batch: Any) -> Any:
        result = step(state, *batch)
        if state.step in wanted:
            found[state.step] = resident()
        return result

    loop.train_step = stepping
    often = max(1, steps // 100)
    data = {"train_data": (text,), "output": folder / "runs"}
    loop.train(
        compose({**SHAPE, **data, "max_steps": steps, "save_every": often, "eval_every": often}).config
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--from", dest="first", type=int, default=500, help="the first step that is measured")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--most", type=float, default=16.0, help="MiB by which memory may grow")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), settings.first, settings.steps)
    for step, size in sorted(found.items()):
        print(f"step {step:>6,}: {size / 2**20:7.1f} MiB")
    grown = (found[settings.steps] - found[settings.first]) / 2**20
    print(f"grown by {grown:.1f} MiB between step {settings.first:,} and {settings.steps:,}")
    sys.exit(grown > settings.most)


if __name__ == "__main__":
    main()
