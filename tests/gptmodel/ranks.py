"""What the tests of several processes share: starting them as a user does, and the program they run.

As a program it takes a file of jobs, each the settings of a run, and trains them one after another in one
group of processes: to start Python with torch costs more than these runs do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from gptmodel import cli
from gptmodel.config import compose
from gptmodel.train import train
from gptmodel.training import distributed
from gptmodel.training import loop as training
from gptmodel.training.restore import parse

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def torchrun(size: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run this file in ``size`` processes; what they print comes back."""
    command = [*TORCHRUN, str(size), __file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def train_all(size: int, folder: Path, jobs: list[dict[str, Any]]) -> None:
    """Train ``jobs`` in ``size`` processes. A job with ``resume`` goes on with that run, as it was set."""
    file = folder / f"jobs-{size}.json"
    file.write_text(json.dumps(jobs, default=str))
    done = torchrun(size, "jobs", file)
    assert done.returncode == 0, done.stderr


def run_job(job: dict[str, Any]) -> None:
    resume = job.pop("resume", None)
    base = None if resume is None else parse((Path(resume) / "config.toml").read_text())
    if "train_data" in job:
        job["train_data"] = (Path(job["train_data"]),)
    train(compose(job, base=base).config, resume=None if resume is None else Path(resume))


def signal_at(step: int, rank: int, number: int) -> None:
    """Let process ``rank`` send itself a signal after ``step``; SIGKILL when the step before is saved."""
    train_step = training.train_step

    def stepping(state: Any, *batch: Any) -> Any:
        result = train_step(state, *batch)
        if state.step == step and state.ranks.rank == rank:
            saved = state.run / "checkpoints" / f"step-{step - 1:08d}"
            while number == signal.SIGKILL and not saved.exists():
                pass
            os.kill(os.getpid(), number)
        return result

    training.train_step = stepping  # type: ignore[assignment]


def main() -> int:
    what, *rest = sys.argv[1:]
    if what == "jobs":
        with distributed.join():
            for job in json.loads(Path(rest[0]).read_text()):
                run_job(job)
        return 0
    if what == "signal":
        step, rank, name, *rest = rest
        signal_at(int(step), int(rank), signal.Signals[name])
    return cli.main(["train", *rest])


if __name__ == "__main__":
    distributed.leave(main())
