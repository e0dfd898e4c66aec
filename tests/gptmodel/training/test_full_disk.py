"""A disk that fills while a run is recorded and saved: the run stops, and what is on the disk is whole."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import loop
import pytest

from gptmodel import checkpoint
from gptmodel.checkpoint import Snapshot, Writer, format, store
from gptmodel.errors import RecordError
from gptmodel.train import train
from gptmodel.training.loggers import TensorBoard

pytestmark = pytest.mark.usefixtures("cache")


def fill_disk(
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    *,
    saving: bool,
    after: threading.Event | None = None,
    filled: threading.Event | None = None,
) -> None:
    """From ``step`` on, and ``after`` that, the disk takes no record, nor a checkpoint if ``saving``."""
    scalars = TensorBoard.scalars

    def full(self: TensorBoard, kind: str, at: int, values: Any) -> None:
        if at >= step:
            assert after is None or after.wait(600)
            if saving:
                monkeypatch.setattr(os, "fsync", refuse)
            if filled is not None:
                filled.set()
            refuse()
        scalars(self, kind, at, values)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TensorBoard, "scalars", full)


def test_a_full_disk_under_the_record_saves_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(loop.tiny(tmp_path, max_steps=20, experiment_name="whole"))
    config = loop.tiny(tmp_path, max_steps=20, save_every=20, eval_every=20, experiment_name="full")
    with monkeypatch.context() as patched:
        fill_disk(patched, 7, saving=False)
        with pytest.raises(
            RecordError, match=r"metrics\.jsonl cannot be written: No space left.*step 7 is save"
        ):
            train(config)
    run = tmp_path / "runs" / "full"
    assert checkpoint.latest(run).step == 7
    train(config, resume=run)
    assert loop.same(loop.weights(whole.run), loop.weights(run))


def test_a_disk_that_takes_nothing_at_all_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Writer.check

    def join_and_check(self: Writer) -> None:
        self.join()
        check(self)

    monkeypatch.setattr(Writer, "check", join_and_check)  # the disk fills when all of step 5 is on it
    fill_disk(monkeypatch, 7, saving=True)
    with pytest.raises(
        RecordError, match=r"No space left.*could not save step 7.*make room, then go on with"
    ):
        train(loop.tiny(tmp_path, save_every=5))
    assert checkpoint.latest(tmp_path / "runs" / "tiny").step == 5


def test_a_disk_that_fills_while_a_checkpoint_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = threading.Event()
    store_save = store.save

    def wait_and_save(run: Path, snapshot: Snapshot) -> Path:
        if snapshot.step == 5:
            assert filled.wait(60)
        return store_save(run, snapshot)

    monkeypatch.setattr(store, "save", wait_and_save)
    fill_disk(monkeypatch, 7, saving=True, filled=filled)
    with pytest.raises(
        RecordError, match=r"No space left.*could not save step 5.*make room, then go on with"
    ):
        train(loop.tiny(tmp_path, save_every=5))
    assert list(checkpoint.complete(tmp_path / "runs" / "tiny")) == []


def test_a_disk_that_fills_before_a_checkpoint_knows_its_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noting, filled = threading.Event(), threading.Event()  # the checkpoint is written; the disk is full
    write_state = format._write_state

    def wait_and_write(folder: Path, state: dict[str, Any]) -> None:
        if state["evaluation_loss"] is not None:
            noting.set()
            assert filled.wait(600)
        write_state(folder, state)

    monkeypatch.setattr(format, "_write_state", wait_and_write)
    fill_disk(monkeypatch, 7, saving=True, after=noting, filled=filled)
    with pytest.raises(
        RecordError,
        match=r"No space left.*could not note the held-out loss in .*: No space left.*make room, then go",
    ):
        train(loop.tiny(tmp_path, save_every=5))
    found = checkpoint.latest(tmp_path / "runs" / "tiny")
    assert (found.step, found.evaluation_loss) == (5, None)
    checkpoint.verify(found.path)


def test_a_full_disk_at_the_last_record_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch, 12, saving=False)
    with pytest.raises(RecordError, match=r"No space left.*step 12 is saved"):
        train(loop.tiny(tmp_path))
    assert checkpoint.latest(tmp_path / "runs" / "tiny").step == 12
