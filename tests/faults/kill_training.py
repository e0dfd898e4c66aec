"""Kill training again and again, resume it, and compare what comes out with a run that was not killed.

    python tests/faults/kill_training.py --kills 500            a quarter of an hour
    python tests/faults/kill_training.py --kills 4 --steps 40   short: what the tests run

A run is killed with SIGKILL several times, then left to end; its weights, optimizer, random state, losses
and evaluations must be those of the run that nobody killed, bit by bit. Between two kills, nothing that was
saved may be lost. There are two kinds of instants, in turn. Counted ones are a step or a call that changes
the disk (a file opened, flushed, renamed), of which a random one is the last. Timed ones come from outside
after a random time, so they also hit the inside of such a call, and of the library that writes the tensors.

Every process is forked from this one, which has imported everything and computed nothing: to start Python
with torch takes longer than these runs do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from gptmodel import checkpoint, cli
from gptmodel.errors import CheckpointError
from gptmodel.training import loop

SENTENCE = "the cat sat on a mat and then it ran to my old red hat in the sun"
WORDS = SENTENCE.split()
SHAPE = {
    "context-length": 16, "width": 16, "heads": 2, "layers": 2, "batch-size": 4, "eval-batches": 2,
    "sample-tokens": 4, "learning-rate": 1e-2, "vocab": 270, "dropout": 0.1, "save-every": 3, "eval-every": 6,
}  # fmt: skip
TENSORS = ("model.safetensors", "optimizer.safetensors")
KINDS = ("train", "evaluation")


class Instants:
    """Counts steps and calls that change the disk, and ends the process at the one that is deadly."""

    def __init__(self, deadly: int) -> None:
        self.count, self.deadly, self.lock = 0, deadly, threading.Lock()

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **named: Any) -> Any:
            with self.lock:
                self.count += 1
                if self.count == self.deadly:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **named)

        return watched

    def begin(self) -> None:
        os.fsync, os.open = self.watch(os.fsync), self.watch(os.open)
        Path.rename, Path.replace = self.watch(Path.rename), self.watch(Path.replace)  # type: ignore[method-assign]
        loop.train_step = self.watch(loop.train_step)


def attempt(words: list[str], *, deadly: int = 0, seconds: float | None = None) -> tuple[int, int, float]:
    """Run ``gptmodel`` in a process that dies at an instant or after a time.

    Returns its exit code, or -9; the instants that it counted, if it ended by itself; and its seconds.
    """
    reader, writer = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        instants = Instants(deadly)
        instants.begin()
        code = cli.main(words)
        os.write(writer, str(instants.count).encode())
        os._exit(code)
    os.close(writer)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)  # not waited for yet, so its number is still its own
    counted = os.read(reader, 100)
    os.close(reader)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, int(counted or 0), time.monotonic() - began


def outcome(run: Path) -> dict[str, Any]:
    """What two runs must have in common."""
    found = checkpoint.latest(run)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "step": found.step,
        **{
            name: found.state["files"][name]["sha256"]
            for name in ("model.safetensors", "optimizer.safetensors")
        },
        **{kind: [(r["step"], r["loss"]) for r in records if r["kind"] == kind] for kind in KINDS},
    }


def saved(run: Path) -> int:
    """The step of the newest sound checkpoint; 0 without one."""
    try:
        return checkpoint.latest(run).step
    except CheckpointError:
        return 0


def campaign(folder: Path, kills: int, steps: int, each: int, seed: int) -> dict[str, Any]:
    """Kill runs of ``steps`` steps, ``each`` of them so many times, until there were ``kills``."""
    draw = random.Random(seed)
    lines = [" ".join(draw.choice(WORDS) for _ in range(10)) for _ in range(400)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    os.environ["GPTMODEL_CACHE"] = str(folder / "cache")
    flags = [word for name, value in SHAPE.items() for word in (f"--{name}", str(value))]
    common = ["--output", str(folder / "runs"), "--experiment-name"]
    new = ["train", "--train-data", str(folder / "text.txt"), "--max-steps", str(steps), *flags, *common]
    attempt([*new, "first"])  # makes the shards, so that the next one takes as long as any other
    code, instants, seconds = attempt([*new, "whole"])
    assert code == 0, "the run that nobody kills failed"
    expected = outcome(folder / "runs" / "whole")
    done, runs, early, tried, hit = 0, 0, 0, 0, {"counted": 0, "timed": 0}
    while done < kills:
        name = f"killed-{runs}"
        run, at = folder / "runs" / name, 0
        for _ in range(min(each, kills - done)):
            words = ["train", "--resume", *common, name] if at or saved(run) else [*new, name]
            if run.exists() and not saved(run):  # killed before anything was saved: it begins again
                (run / "metrics.jsonl").unlink(missing_ok=True)
                run.rename(run.with_name(f"{name}-early-{early}"))
                early += 1
                words = [*new, name]
            left = 1 - at / steps
            tried += 1
            if tried % 2:
                kind, (code, _, _) = "timed", attempt(words, seconds=draw.uniform(0, left * seconds))
                # ended by itself: the computer was busier when the whole run was timed
                seconds = max(seconds / 2, 0.1) if code == 0 else min(seconds * 1.1, 600.0)
            else:
                deadly = draw.randrange(1, max(2, round(left * instants)))
                kind, code = "counted", attempt(words, deadly=deadly)[0]
            if code == 0:  # it had ended before
                break
            assert code == -9, f"{name} left with {code} instead of being killed"
            done, hit[kind] = done + 1, hit[kind] + 1
            now = saved(run) if run.exists() else 0
            assert now >= at, f"{name}: step {at} was saved and is lost, {now} is left"
            at = now
        words = ["train", "--resume", *common, name] if run.exists() and saved(run) else None
        if words is None:
            if run.exists():
                run.rename(run.with_name(f"{name}-early-{early}"))
                early += 1
            words = [*new, name]
        code = attempt(words)[0]
        assert code == 0, f"{name} could not be resumed"
        assert outcome(run) == expected, f"{name} ended with something else"
        left_over = [entry.name for entry in (run / "checkpoints").glob(".*")]
        assert not left_over, f"{name} left {left_over}"
        runs += 1
        if sys.stdout.isatty() or runs % 20 == 0:
            print(f"{done} kills in {runs} runs", flush=True)
    return {"kills": done, **hit, "before the first save": early, "runs": runs, "instants": instants}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=200, help="of each run")
    parser.add_argument("--each", type=int, default=5, help="kills of one run")
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        found = campaign(Path(name), settings.kills, settings.steps, settings.each, settings.seed)
    said = ", ".join(f"{number} {what}" for what, number in found.items())
    print(f"{said}; every run ended with the same bits; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
