"""Lightning's Trainer over the same model, step and data gives the losses of our own loop.

As a program, which torchrun starts in several processes, it fits and prints the losses of each.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import loop
import pytest
import torch

import gptmodel
from gptmodel.config import Config
from gptmodel.errors import ConfigError
from gptmodel.train import train

lightning = pytest.importorskip("lightning")

SETTINGS: dict[str, Any] = {
    "max_steps": 10,
    "batch_size": 8,
    "eval_every": 10,
    "head_learning_rate": 5e-3,
    "grad_clip": 0.5,
}


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Recorder(lightning.Callback):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: object, module: object, outputs: dict, *_: object) -> None:
        self.losses.append(float(outputs["loss"]))


def fit(config: Config, **options: Any) -> tuple[list[float], float]:
    """The loss of each micro-batch of this process, and the held-out loss at the end."""
    from gptmodel.lightning import GPTLightningModule, ShardDataModule

    recorder = Recorder()
    data = ShardDataModule(config)
    module = GPTLightningModule(config, data.model_config, total_steps=10)
    trainer = lightning.Trainer(
        max_steps=10,
        accelerator="cpu",
        gradient_clip_val=config.optim.grad_clip,
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        val_check_interval=10 * options.get("accumulate_grad_batches", 1),
        default_root_dir=config.train.output,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, data)
    return recorder.losses, float(trainer.callback_metrics["evaluation/loss"])


def of_steps(parts: list[float], size: int) -> list[float]:
    """The losses of steps: Lightning gives each micro-batch's, divided by their number."""
    return [sum(parts[at : at + size]) for at in range(0, len(parts), size)]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_trainer_gives_the_losses_of_our_loop_also_when_it_accumulates(
    tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in bf16 the last bit of a clipped gradient, where the two differ, shows after some steps
    monkeypatch.setattr("gptmodel.training.optim.muon.fast_product_dtype", lambda device: torch.float32)
    config = loop.tiny(tmp_path, **SETTINGS, optimizer=optimizer)
    run = train(config).run
    for parts in (1, 4):
        losses, held_out = fit(config, accumulate_grad_batches=parts)
        assert len(losses) == 10 * parts
        assert of_steps(losses, parts) == pytest.approx([loss for _, loss in loop.losses(run)], rel=1e-6)
        assert held_out == pytest.approx(loop.losses(run, "evaluation")[-1][1], rel=1e-6)


def test_each_process_of_the_trainer_has_its_rows(tmp_path: Path) -> None:
    run = train(loop.tiny(tmp_path, **SETTINGS)).run
    env = os.environ | {"PYTHONPATH": str(Path(gptmodel.__file__).parents[1])}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, __file__, str(tmp_path)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    (first, held_out), (second, _) = found
    both = [(one + other) / 2 for one, other in zip(first, second, strict=True)]
    assert first != second
    assert of_steps(both, 2) == pytest.approx([loss for _, loss in loop.losses(run)], rel=1e-6)
    assert held_out == pytest.approx(loop.losses(run, "evaluation")[-1][1], rel=1e-6)


def test_16_mixed_clips_what_it_has_scaled_back(tmp_path: Path) -> None:
    from lightning.pytorch.plugins import MixedPrecision

    config = loop.tiny(tmp_path, **SETTINGS)
    expected, _ = fit(config)
    losses, _ = fit(config, plugins=[MixedPrecision("16-mixed", "cpu")])
    assert losses == pytest.approx(expected, rel=5e-3)


def test_a_batch_that_cannot_be_accumulated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accumulate_grad_batches=3: take a multiple of 3"):
        fit(loop.tiny(tmp_path, **SETTINGS), accumulate_grad_batches=3)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    result = fit(
        loop.tiny(folder, **SETTINGS), accumulate_grad_batches=2, devices=2, strategy="ddp", num_nodes=1
    )
    (folder / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(result))
