"""A run that was stopped, killed or copied goes on exactly where it was, or says why it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import loop
import pytest

from gptmodel import checkpoint, evaluate
from gptmodel.errors import CheckpointError, InterruptedRunError, LockedError
from gptmodel.load import GPT
from gptmodel.train import train
from gptmodel.training import loop as training
from gptmodel.training.config import parse

pytestmark = pytest.mark.usefixtures("cache")


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Send this process a signal while ``step`` is being recorded."""
    record = training.record

    def recording(state: Any, *rest: Any) -> None:
        record(state, *rest)
        if state.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(training, "record", recording)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_the_run_goes_on_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    whole = train(loop.tiny(tmp_path, dropout=0.1, max_steps=40, experiment_name="whole"))
    config = loop.tiny(tmp_path, dropout=0.1, max_steps=40, experiment_name="halves", save_every=40)
    with monkeypatch.context() as patched:
        stop_after(patched, 20, number)
        with pytest.raises(InterruptedRunError, match=r"step 20 of 40.*--resume --experiment-name halves"):
            train(config)
    run = tmp_path / "runs" / "halves"
    assert checkpoint.latest(run).step == 20
    train(config, resume=run)
    assert loop.same(loop.weights(whole.run), loop.weights(run))
    assert loop.losses(whole.run) == loop.losses(run)
    assert loop.losses(whole.run, "evaluation") == loop.losses(run, "evaluation")


def test_after_kill_9_the_run_goes_on_bit_by_bit(tmp_path: Path) -> None:
    whole = train(loop.tiny(tmp_path, dropout=0.1, max_steps=40, experiment_name="whole"))
    flags = loop.flags(tmp_path, dropout=0.1, max_steps=40, experiment_name="killed", save_every=20)
    script = (
        "import os, sys\n"
        "from gptmodel import cli\n"
        "from gptmodel.training import loop\n"
        "step = loop.train_step\n"
        "def stepping(state, *batch):\n"
        "    if state.step == 27:\n"
        "        while not (state.run / 'checkpoints' / 'step-00000020').exists(): pass\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return step(state, *batch)\n"
        "loop.train_step = stepping\n"
        "cli.main(['train', *sys.argv[1:]])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *flags], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    run = tmp_path / "runs" / "killed"
    assert checkpoint.latest(run).step == 20
    train(parse(checkpoint.latest(run).text("config.toml")), resume=run)
    assert loop.same(loop.weights(whole.run), loop.weights(run))
    assert loop.losses(whole.run) == loop.losses(run)


def test_sigusr1_saves_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(monkeypatch, 5, signal.SIGUSR1)
    state = train(loop.tiny(tmp_path, save_every=12))
    assert state.step == 12
    assert [found.step for found in checkpoint.complete(state.run)] == [12, 5]


def test_signals_are_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    train(loop.tiny(tmp_path, max_steps=1))
    assert signal.getsignal(signal.SIGINT) is before


def test_what_stops_in_an_evaluation_has_saved_before_and_measures_it_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"dropout": 0.1, "max_steps": 20, "save_every": 10, "eval_every": 10, "sample_tokens": 4}
    whole = train(loop.tiny(tmp_path, **settings, experiment_name="whole"))
    config = loop.tiny(tmp_path, **settings, experiment_name="halves")

    def failing(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(evaluate, "measure", failing)
        with pytest.raises(MemoryError):
            train(config)
    run = tmp_path / "runs" / "halves"
    assert checkpoint.latest(run).step == 10
    assert checkpoint.latest(run).evaluation_loss is None
    with monkeypatch.context() as patched:  # once more, in the sample: the evaluation is not done twice
        patched.setattr(GPT, "generate", failing)
        with pytest.raises(MemoryError):
            train(config, resume=run)
    assert checkpoint.latest(run).evaluation_loss is not None
    train(config, resume=run)
    assert loop.same(loop.weights(whole.run), loop.weights(run))
    assert loop.losses(whole.run, "evaluation") == loop.losses(run, "evaluation")


RESUMES = [
    ({"width": 32}, CheckpointError, "model.width = 16, now it is 32"),
    ({"seed": 9}, CheckpointError, "train.seed = 0, now it is 9"),
    ({"batch_size": 5}, CheckpointError, "train.batch_size = 4, now it is 5"),
    ({"learning_rate": 0.5}, CheckpointError, "optim.learning_rate"),
    ({"tokenizer": "gpt2"}, CheckpointError, "another tokenizer|vocab_size"),
]


@pytest.mark.parametrize(("changes", "error", "message"), RESUMES)
def test_resuming_with_something_else_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    run = train(loop.tiny(tmp_path, max_steps=2)).run
    before = loop.weights(run)
    with pytest.raises(error, match=message):
        train(loop.tiny(tmp_path, **({"max_steps": 4} | changes)), resume=run)
    assert loop.same(loop.weights(run), before)


def test_resuming_on_another_text_is_refused(tmp_path: Path) -> None:
    run = train(loop.tiny(tmp_path, max_steps=2)).run
    loop.write_text(tmp_path / "text.txt", seed=3)
    with pytest.raises(CheckpointError, match="another text or shards"):
        train(loop.tiny(tmp_path, max_steps=4), resume=run)


def test_a_damaged_newest_checkpoint_costs_its_interval_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = loop.tiny(tmp_path, save_every=4)
    run = train(config).run
    whole = loop.weights(run)
    file = run / "checkpoints" / "step-00000012" / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    train(config, resume=run)
    shown = capsys.readouterr()
    assert "optimizer.safetensors has" in shown.err
    assert "resumed after step 8" in shown.err
    assert loop.same(loop.weights(run), whole)


def test_a_run_is_resumed_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = loop.tiny(tmp_path, max_steps=4, save_every=2)
    seen: list[str] = []
    step = training.train_step

    def stepping(state: Any, *batch: Any) -> Any:
        if state.step == 2:
            rubbish = state.run / "checkpoints" / ".step-00000099.tmp-1-abcdef"
            rubbish.mkdir(parents=True, exist_ok=True)  # a save of the first, half written
            with pytest.raises(LockedError, match="is in use by another process"):
                train(config, resume=state.run)
            assert rubbish.exists()
            seen.append(train(loop.tiny(tmp_path, max_steps=1)).run.name)  # its namesake
        return step(state, *batch)

    monkeypatch.setattr(training, "train_step", stepping)
    run = train(config).run
    assert seen == ["tiny-2"]
    monkeypatch.undo()
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    train(config, resume=run)  # and when the first has ended it goes
    assert not list((run / "checkpoints").glob(".step-*"))
