"""Several processes train as one would: the same losses, the same files, and they stop together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loop
import pytest
import ranks as several
import torch

import gptmodel
from gptmodel import checkpoint
from gptmodel.errors import ConfigError
from gptmodel.load import GPT
from gptmodel.train import train
from gptmodel.training.distributed import Ranks, from_environment
from gptmodel.training.loop import micro_batches

SETTINGS: dict[str, Any] = {
    "batch_size": 8,
    "max_steps": 8,
    "save_every": 4,
    "eval_every": 4,
    "eval_batches": 3,
    "sample_tokens": 4,
    "schedule": "constant",
    "warmup_steps": 2,
    "grad_clip": 0.5,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("ranks")
        patched.setenv("GPTMODEL_CACHE", str(folder / "cache"))
        patched.setenv("PYTHONPATH", str(Path(gptmodel.__file__).parents[1]))
        patched.setenv("OMP_NUM_THREADS", "1")
        yield folder


def job(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    return {
        "train_data": folder / "text.txt",
        "output": folder / "runs",
        **loop.TINY,
        **SETTINGS,
        "experiment_name": name,
        **changes,
    }


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The folder of runs that 1, 2 and 4 processes trained, and went on with."""
    runs = folder / "runs"

    def alone(name: str, **changes: Any) -> None:
        train(loop.tiny(folder, **{**SETTINGS, "experiment_name": name, **changes}))

    def copied(run: str, name: str) -> Path:
        shutil.copytree(runs / run, runs / name, symlinks=True)
        return runs / name

    alone("alone")
    alone("alone-in-2", micro_batch_size=4)
    alone("alone-in-8", micro_batch_size=1)
    alone("half", max_steps=4)
    several.train_all(
        4,
        folder,
        [
            job(folder, "four"),
            job(folder, "four-in-2", micro_batch_size=1),
            job(folder, "four-sharded", shard_model=True),
            job(folder, "four-sharded-in-2", shard_model=True, micro_batch_size=1),
            job(folder, "four-half", max_steps=4),
            job(folder, "four-sharded-half", max_steps=4, shard_model=True),
            {"resume": copied("half", "half-on-four"), "max_steps": 8},
            {"resume": copied("half", "half-on-four-sharded"), "max_steps": 8, "shard_model": True},
        ],
    )
    several.train_all(
        2,
        folder,
        [
            job(folder, "two"),
            job(folder, "two-in-4", micro_batch_size=1),
            job(folder, "two-sharded", shard_model=True),
            {"resume": copied("four-half", "four-on-two"), "max_steps": 8},
            {"resume": copied("four-sharded-half", "four-on-two-sharded"), "max_steps": 8},
        ],
    )
    for run in ("four-half", "four-sharded-half"):
        several.run_job({"resume": copied(run, f"{run}-alone"), "max_steps": 8})
    return runs


@pytest.mark.parametrize(
    "run",
    [
        *("alone-in-2", "alone-in-8"),
        *("two", "two-in-4", "two-sharded"),
        *("four", "four-in-2", "four-sharded", "four-sharded-in-2"),
        *("half-on-four", "half-on-four-sharded"),
        *("four-on-two", "four-on-two-sharded"),
        *("four-half-alone", "four-sharded-half-alone"),
    ],
)
def test_losses_do_not_depend_on_ranks_micro_batches_or_sharding(trained: Path, run: str) -> None:
    for kind in ("train", "evaluation"):
        expected, found = (
            {r["step"]: r for r in gptmodel.training.read_metrics(trained / name) if r["kind"] == kind}
            for name in ("alone", run)
        )
        assert found.keys() == expected.keys()
        for name in ("loss", "bits_per_byte", "gradient_norm", "evaluated_tokens", "tokens"):
            had, wanted = ([row.get(name) for row in rows.values()] for rows in (found, expected))
            if wanted[0] is not None:
                # a norm adds up squares of gradients that were rounded in another order
                assert had == pytest.approx(wanted, rel=1e-5 if name == "gradient_norm" else 1e-6), name


def test_muon_updates_divided_matrices_as_whole_ones(trained: Path) -> None:
    folder = trained.parent
    muon = {"optimizer": "muon", "save_every": 4}
    train(loop.tiny(folder, **{**SETTINGS, **muon, "experiment_name": "muon"}))
    several.train_all(
        2,
        folder,
        [
            job(folder, "muon-two-sharded", **muon, shard_model=True),
            job(folder, "muon-half", **muon, shard_model=True, max_steps=4),
            {"resume": trained / "muon-half", "max_steps": 6},
        ],
    )
    several.run_job({"resume": trained / "muon-half", "max_steps": 8})
    expected = dict(loop.losses(trained / "muon"))
    for name in ("muon-two-sharded", "muon-half"):
        # the iterations in bf16 round gradients that were added in another order
        assert dict(loop.losses(trained / name)) == pytest.approx(expected, rel=1e-4), name


@pytest.mark.slow
def test_compiled_on_several_ranks_the_losses_are_the_same(trained: Path) -> None:
    folder = trained.parent
    jobs = [
        job(folder, "two-compiled", compile=True, max_steps=4),
        job(folder, "two-sharded-compiled", compile=True, max_steps=4, shard_model=True),
    ]
    (folder / "compiled.json").write_text(json.dumps(jobs, default=str))
    done = several.torchrun(2, "jobs", folder / "compiled.json")
    assert done.returncode == 0, done.stderr
    assert ", compiled in " in done.stderr
    assert ", compiled, block by block;" in done.stderr
    expected = loop.losses(trained / "alone")[:4]
    for name in ("two-compiled", "two-sharded-compiled"):
        assert dict(loop.losses(trained / name)) == pytest.approx(dict(expected), rel=1e-5)


def test_a_checkpoint_of_sharded_weights_is_that_of_one_process(trained: Path) -> None:
    whole, sharded = (checkpoint.find(trained / name) for name in ("alone", "four-sharded"))
    for one, other in (
        (whole.model_tensors(), sharded.model_tensors()),
        (whole.optimizer_tensors(), sharded.optimizer_tensors()),
    ):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(other[name], one[name], rtol=1e-3, atol=1e-5)
    assert sharded.state["ranks"] == 4
    assert GPT.load(trained / "four-sharded").config == whole.model_config()


def test_only_the_first_process_writes(trained: Path) -> None:
    assert (trained / "four" / "samples.txt").read_text().count("=== step 8 ===") == 1
    assert len(list((trained / "four").glob("events*"))) == 1
    assert sorted(entry.name for entry in (trained / "four" / "checkpoints").iterdir()) == [
        "step-00000004",
        "step-00000008",
    ]


def flags(folder: Path, name: str, **changes: Any) -> list[str]:
    return loop.flags(folder, **{**SETTINGS, "save_every": 1, "experiment_name": name, **changes})


def test_a_signal_to_one_process_stops_all_at_one_step_and_the_run_goes_on(trained: Path) -> None:
    folder = trained.parent
    done = several.torchrun(2, "signal", 5, 1, "SIGTERM", *flags(folder, "signalled", save_every=4))
    said = [line for line in done.stderr.splitlines() if line.startswith("gptmodel: ")]
    assert len(said) == 1, done.stderr
    assert "stopped after step 5 of 8" in said[0]
    assert "torchrun --standalone --nproc-per-node 2 -m gptmodel.train --resume" in said[0]
    run = trained / "signalled"
    assert checkpoint.latest(run).step == 5
    several.run_job({"resume": run})
    assert dict(loop.losses(run)) == pytest.approx(dict(loop.losses(trained / "alone")), rel=1e-6)


def test_when_one_process_dies_the_others_say_so_and_the_run_goes_on(trained: Path) -> None:
    folder = trained.parent
    done = several.torchrun(4, "signal", 5, 1, "SIGKILL", *flags(folder, "killed"))
    assert done.returncode
    said = [line for line in done.stderr.splitlines() if line.startswith("gptmodel: ")]
    assert len(said) == 1, done.stderr
    assert "another process of this run has ended" in said[0]
    assert "--resume --experiment-name killed" in said[0]
    assert "gloo" not in done.stderr
    run = trained / "killed"
    assert checkpoint.latest(run).step in (4, 5)
    several.run_job({"resume": run})
    assert dict(loop.losses(run)) == pytest.approx(dict(loop.losses(trained / "alone")), rel=1e-6)


def test_what_all_processes_refuse_is_said_once(folder: Path) -> None:
    done = several.torchrun(2, "train", *flags(folder, "odd", batch_size=5))
    said = [line for line in done.stderr.splitlines() if line.startswith("gptmodel: ")]
    assert said == ["gptmodel: error: --batch-size 5 cannot be divided among 2 processes: take 4 or 6"]


def test_a_process_that_does_not_answer_is_given_up(folder: Path) -> None:
    program = (
        "import sys\n"
        "from datetime import timedelta\n"
        "from gptmodel.errors import LostRankError\n"
        "from gptmodel.training import distributed\n"
        "try:\n"
        "    with distributed.join(timedelta(seconds=4)) as ranks:\n"
        "        ranks.barrier()\n"
        "        if ranks.rank: sys.stdin.read()\n"
        "        ranks.barrier()\n"
        "except LostRankError as error:\n"
        "    print(error)\n"
    )
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    first, silent = (
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | where | {"RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    )
    try:
        assert first.stdout is not None
        assert "another process of this run has ended or no longer answers" in first.stdout.read()
    finally:
        silent.send_signal(signal.SIGKILL)
        for process in (first, silent):
            process.communicate()


# --- one process is enough for these ---


def test_the_rows_of_the_ranks_are_the_batch() -> None:
    batch = torch.arange(12)
    for size in (1, 2, 3, 4, 6, 12):
        parts = [batch[Ranks(rank=rank, size=size).rows(12)] for rank in range(size)]
        assert torch.cat(parts).equal(batch)
    for size, near in ((5, "10 or 15"), (24, "24")):
        with pytest.raises(ConfigError, match=f"--batch-size 12 cannot be divided .* take {near}$"):
            Ranks(size=size).rows(12)


def test_evaluation_has_the_same_batches_on_every_rank_and_each_target_once() -> None:
    whole = [(torch.arange(5)[:, None], torch.arange(1, 6)[:, None])] * 3 + [
        (torch.full((1, 1), 40), torch.full((1, 1), 40))
    ]
    for size in (1, 2, 4):
        for most in (None, 1, 2):
            parts = [list(micro_batches(whole, Ranks(rank=r, size=size), most)) for r in range(size)]
            assert len({len(part) for part in parts}) == 1
            targets = torch.cat([targets.flatten() for part in parts for _, targets in part])
            counted = sorted(targets[targets >= 0].tolist())
            assert counted == sorted([1, 2, 3, 4, 5] * 3 + [40])


def test_without_torchrun_there_is_one_process() -> None:
    assert from_environment({"WORLD_SIZE": "4", "RANK": "1"}).alone  # a batch system's, not torchrun's
    assert Ranks().device("cpu") == torch.device("cpu")
    assert Ranks().sum(torch.ones(1)) == 1
    assert Ranks().any(True, False) == (True, False)
    assert Ranks().from_first(lambda: "here") == "here"


@pytest.mark.parametrize("size", [1, 2])
def test_one_of_several_processes_ends_without_tearing_python_down(size: int) -> None:
    """Threads of Gloo may free tensors late, and abort a process whose interpreter is being finalized."""
    script = """
import atexit
from gptmodel.training.distributed import leave
atexit.register(print, "torn down")
print("written", end=" ")
leave(3)
"""
    address = {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    environment = {**os.environ, **address, "RANK": "0", "WORLD_SIZE": str(size)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout == ("written torn down\n" if size == 1 else "written ")


def test_each_process_has_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks = Ranks(rank=3, size=4, local_rank=3, local_size=4)
    with pytest.raises(ConfigError, match=r"4 processes on a machine with 2 .* --nproc-per-node 2"):
        ranks.device("auto")
    with pytest.raises(ConfigError, match="each has a card of its own"):
        ranks.device("cuda:1")
    assert ranks.device("cpu") == torch.device("cpu")
