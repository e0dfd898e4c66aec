"""Checkpoints are whole or absent: damage is found, and a failed save leaves the old ones as they were."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch

from gptmodel import checkpoint
from gptmodel.checkpoint import format
from gptmodel.config import Config, compose, dump_toml
from gptmodel.errors import CheckpointError
from gptmodel.load import GPT
from gptmodel.training.optim import OptimConfig, build_optimizer
from gptmodel.training.restore import (
    model_tensors,
    optimizer_tensors,
    random_tensors,
    restore_model,
    restore_optimizer,
    restore_random,
)

CPU = torch.device("cpu")
SHAPE = {"vocab_size": 13, "context_length": 8, "width": 8, "heads": 2, "layers": 1}


def config() -> Config:
    return compose({"preset": "tiny", **SHAPE}).config


def trained(steps: int = 1, seed: int = 0) -> tuple[GPT, torch.optim.Optimizer]:
    model = GPT(config().build_model_config(), seed=seed)
    optimizer = build_optimizer(model, OptimConfig(), torch.device("cpu"))
    ids = torch.arange(8)[None] % 13
    for _ in range(steps):
        model.loss(ids, ids.roll(-1, 1)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def save(run: Path, step: int, loss: float | None = None, **changes: Any) -> Path:
    return checkpoint.save(run, snapshot(step, loss, **changes))


def snapshot(step: int, loss: float | None = None, **changes: Any) -> checkpoint.Snapshot:
    model, optimizer = (
        trained() if "model" not in changes else (changes.pop("model"), changes.pop("optimizer"))
    )
    arguments: dict[str, Any] = {
        "model": model_tensors(model),
        "optimizer": optimizer_tensors(model, optimizer) | random_tensors(CPU),
        "model_config": model.config,
        "state": {"evaluation_loss": loss},
        "config": dump_toml(config()),
    }
    return checkpoint.Snapshot(step=step, **(arguments | changes))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_model_optimizer_and_random_state_come_back_bit_by_bit(tmp_path: Path) -> None:
    model, optimizer = trained(steps=3)
    torch.manual_seed(5)
    path = save(tmp_path, 3, model=model, optimizer=optimizer)
    drawn = torch.rand(4)
    found = checkpoint.verify(path)
    assert found.step == 3
    assert found.model_config() == model.config
    assert found.text("config.toml") == dump_toml(config())
    other = GPT(config().build_model_config(), seed=1)
    moments = build_optimizer(other, OptimConfig(), torch.device("cpu"))
    restore_model(other, found.model_tensors(), "test")
    restore_optimizer(other, moments, found.optimizer_tensors(), "test")
    restore_random(found.optimizer_tensors(), CPU)
    assert torch.equal(torch.rand(4), drawn)
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
        for key in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(optimizer.state[a][key], moments.state[b][key]), (name, key)


def test_files_have_the_mode_that_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = save(tmp_path, 1)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o640}


def test_every_flipped_bit_of_the_state_and_every_flipped_byte_elsewhere_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    for file in sorted(path.iterdir()):
        whole = bytearray(file.read_bytes())
        step = 1 if file.name == "state.json" else max(1, len(whole) // 40)
        for place in range(0, len(whole), step):
            whole[place] ^= 1 << (place % 8)
            file.write_bytes(whole)
            if file.name == "state.json" and _same_meaning(bytes(whole)):
                pass  # white space for white space
            else:
                with pytest.raises(CheckpointError):
                    checkpoint.verify(path)
            whole[place] ^= 1 << (place % 8)
        file.write_bytes(whole)
    checkpoint.verify(path)


def _same_meaning(text: bytes) -> bool:
    try:
        state = json.loads(text)
    except ValueError:
        return False
    return isinstance(state, dict) and state.get("digest") == format._digest(state)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "config.toml", "state.json"])
def test_half_a_checkpoint_is_passed_over_and_the_one_before_used(tmp_path: Path, name: str) -> None:
    old, new = save(tmp_path, 1), save(tmp_path, 2)
    file = new / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    reasons: list[str] = []
    assert checkpoint.latest(tmp_path, reasons).path == old
    assert len(reasons) == 1
    assert name in reasons[0]
    file.unlink()
    assert checkpoint.latest(tmp_path).path == old
    with pytest.raises(CheckpointError, match=r"missing|no state\.json"):
        checkpoint.find(new)


def test_without_a_sound_checkpoint_the_reason_is_given(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        checkpoint.latest(tmp_path)
    (save(tmp_path, 1) / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        checkpoint.latest(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "rename", "save_file"])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    old = save(tmp_path, 1)
    before = bytes_of(old)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = {"fsync": (os, "fsync"), "rename": (Path, "rename"), "save_file": (format, "save_file")}[call]
    monkeypatch.setattr(*target, full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*as they were"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert bytes_of(old) == before
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [old.name]


def test_what_a_killed_save_leaves_is_invisible_and_swept(tmp_path: Path) -> None:
    old = save(tmp_path, 1)
    rubbish = tmp_path / "checkpoints" / ".step-00000002.tmp-1-abcdef"
    rubbish.mkdir()
    (rubbish / "model.safetensors").write_bytes(b"half")
    before = {path.name for path in old.iterdir()}
    (old / ".state.json.tmp-1-abcdef").write_text("half")
    (tmp_path / ".metrics.jsonl.tmp-1-abcdef").write_text("half")
    (tmp_path / "checkpoints" / ".mine_e1.tmp-1").symlink_to(old.name)
    assert checkpoint.latest(tmp_path).path == old
    checkpoint.sweep(tmp_path)
    assert not rubbish.exists()
    assert {path.name for path in old.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [old.name]


def test_names_of_new_folders_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint outlives a power cut only if the folders above it do."""
    flushed, fsync = [], os.fsync
    folders = {path.stat().st_ino: path for path in (tmp_path,)}

    def noting(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    run = tmp_path / "run"
    monkeypatch.setattr(os, "fsync", noting)
    path = save(run, 1)
    folders |= {entry.stat().st_ino: entry for entry in (run, path.parent, path)}
    assert {folders[node] for node in flushed if node in folders} == set(folders.values())


def test_a_damaged_checkpoint_of_the_same_step_is_replaced_a_sound_one_kept(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    made = (path / "state.json").stat().st_mtime_ns
    assert save(tmp_path, 1) == path
    assert (path / "state.json").stat().st_mtime_ns == made
    (path / "model.safetensors").write_bytes(b"")
    checkpoint.verify(save(tmp_path, 1))


def test_keeping_spares_the_newest_the_best_and_those_of_epochs(tmp_path: Path) -> None:
    losses = {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5, 5: 2.4, 6: 2.3}
    for step, loss in losses.items():
        save(tmp_path, step, loss, link="mine_e1" if step == 3 else None)
    checkpoint.prune(tmp_path, keep=2)
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == ["mine_e1", "step-00000002", "step-00000003", "step-00000005", "step-00000006"]
    best = checkpoint.best(tmp_path)
    assert best is not None
    assert best.step == 2
    assert checkpoint.find(tmp_path / "best").step == 2
    assert checkpoint.find(tmp_path / "latest").step == 6
    assert checkpoint.find(tmp_path).step == 6
    assert checkpoint.find(tmp_path / "checkpoints" / "mine_e1").step == 3


def test_paths_that_are_no_run_say_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run or checkpoint at"):
        checkpoint.find(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="neither a run"):
        checkpoint.find(tmp_path)


def test_the_model_of_a_run_loads(tmp_path: Path) -> None:
    model, optimizer = trained()
    save(tmp_path, 1, model=model, optimizer=optimizer)
    loaded = GPT.load(tmp_path)
    assert not loaded.training
    ids = torch.arange(8)[None]
    assert torch.equal(loaded(ids), model.eval()(ids))
    with pytest.raises(CheckpointError, match="carried none"):
        checkpoint.load_tokenizer(tmp_path)


def test_another_model_is_refused(tmp_path: Path) -> None:
    found = checkpoint.verify(save(tmp_path, 1))
    other = GPT(compose({"preset": "tiny", **SHAPE, "layers": 2}).config.build_model_config())
    with pytest.raises(CheckpointError, match="another model"):
        restore_model(other, found.model_tensors(), "test")


def test_nothing_here_can_unpickle() -> None:
    room = Path(checkpoint.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in room.glob("*.py"))
    for word in ("pickle", "torch.load", "torch.save", "marshal", "eval("):
        assert word not in source.replace("never unpickled", "").replace("can unpickle", "")


def test_a_model_outlives_the_options_of_training(tmp_path: Path) -> None:
    model, _ = trained()
    later = 'preset = "gone"\n[train]\nan_option_of_another_version = 1\n'
    path = save(tmp_path, 1, config=later)
    assert GPT.load(path).config == model.config


def test_checkpoints_of_format_1_are_read(tmp_path: Path) -> None:
    """They have no model.json, and the number of key and value heads had another name."""
    model, optimizer = trained()
    text = dump_toml(compose({"preset": "tiny", **SHAPE, "kv_heads": 2}).config)
    text = text.replace("kv_heads", "key_value_heads")
    path = save(tmp_path, 1, model=model, optimizer=optimizer, config=text)
    state = json.loads((path / "state.json").read_text())
    del state["files"]["model.json"]
    (path / "model.json").unlink()
    state["format"] = 1
    state["digest"] = format._digest(state)
    (path / "state.json").write_text(json.dumps(state))
    loaded = GPT.load(path)
    assert loaded.config.kv_heads == 2
    ids = torch.arange(8)[None]
    assert torch.equal(loaded(ids), model.eval()(ids))


def test_the_held_out_loss_is_added_to_a_whole_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    checkpoint.record_evaluation(checkpoint.read(path), 2.5)
    assert checkpoint.verify(path).evaluation_loss == 2.5
    assert {entry.name for entry in path.iterdir()} == {*checkpoint.read(path).state["files"], "state.json"}
