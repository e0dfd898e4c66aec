"""Saving in the background: in order, one at a time, and its failures are heard of."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest
import torch

from gptmodel import checkpoint, files
from gptmodel.checkpoint import Snapshot, Writer, store
from gptmodel.errors import CheckpointError
from gptmodel.model import ModelConfig

SHAPE = ModelConfig(vocab_size=3, context_length=4, width=2, layers=0, heads=1)


def snapshot(step: int) -> Snapshot:
    tensors = {"weight": torch.full((4,), float(step))}
    return Snapshot(step=step, model=tensors, optimizer={}, model_config=SHAPE, config="", state={})


def test_saving_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, may_write = store.save, threading.Event()

    def slowly(run: Path, snapshot: Snapshot) -> Path:
        may_write.wait()
        return save(run, snapshot)

    monkeypatch.setattr(store, "save", slowly)
    with Writer(tmp_path, keep=2) as writer:
        writer.save(snapshot(1))
        writer.record_evaluation(1, 3.5)
        writer.check()
        assert not (tmp_path / "checkpoints").exists()
        may_write.set()
    found = checkpoint.verify(tmp_path / "checkpoints" / "step-00000001")
    assert found.evaluation_loss == 3.5


def test_a_second_save_waits_for_the_first_and_old_ones_go(tmp_path: Path) -> None:
    with Writer(tmp_path, keep=2) as writer:
        for step in range(1, 6):
            writer.save(snapshot(step))
            assert step == 1 or store.path_of(tmp_path, step - 1).exists()
    assert [found.step for found in checkpoint.complete(tmp_path)] == [5, 4]


def test_what_goes_wrong_in_the_background_is_raised_at_the_next_call(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("no folder")
    with Writer(tmp_path, keep=2) as writer:
        writer.save(snapshot(1))
        with pytest.raises(CheckpointError, match="could not save step 1"):
            writer.join()
        writer.join()  # once is enough


def test_the_runs_own_error_is_not_hidden_by_that_of_the_writer(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("no folder")

    def run() -> None:
        with Writer(tmp_path, keep=2) as writer:
            writer.save(snapshot(1))
            raise RuntimeError("its own")

    with pytest.raises(RuntimeError, match="its own"):
        run()


def test_a_checkpoint_is_on_the_disk_after_the_record_of_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, flushed = tmp_path / "metrics.jsonl", []
    record.write_text("{}\n")
    flush = files.flush

    def noting(path: Path) -> None:
        flushed.append(path.name)
        flush(path)

    monkeypatch.setattr(files, "flush", noting)
    with Writer(tmp_path, keep=2, record=record) as writer:
        writer.save(snapshot(1))
        writer.join()
        assert flushed[0] == record.name
        assert flushed.index("checkpoints") > 0
        flushed.clear()
        writer.record_evaluation(1, 3.5)
        writer.join()
        assert flushed[0] == record.name
        record.unlink()  # somebody removed it: the checkpoint is worth more
        writer.save(snapshot(2))
    assert checkpoint.latest(tmp_path).step == 2


def test_a_record_that_cannot_be_flushed_is_an_error_and_saves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "metrics.jsonl"
    record.write_text("{}\n")

    def broken(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "flush", broken)
    with Writer(tmp_path, keep=2, record=record) as writer:
        writer.save(snapshot(1))
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl cannot be flushed: Input/output error"):
            writer.join()
    assert not (tmp_path / "checkpoints").exists()
