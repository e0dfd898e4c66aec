"""Lightning's Trainer over the same model, step and data gives the losses of our own loop."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import loop
import pytest

from gptmodel.train import train

lightning = pytest.importorskip("lightning")


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTMODEL_CACHE", str(tmp_path / "cache"))
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def test_the_trainer_gives_the_losses_of_our_loop(tmp_path: Path) -> None:
    from gptmodel.lightning import GPTLightningModule, ShardDataModule

    config = loop.tiny(tmp_path, max_steps=10, eval_every=10, head_learning_rate=5e-3, grad_clip=0.5)
    state = train(config)

    class Recorder(lightning.Callback):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.losses: list[float] = []

        def on_train_batch_end(self, trainer: object, module: object, outputs: dict, *_: object) -> None:
            self.losses.append(float(outputs["loss"]))

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
        val_check_interval=10,
        default_root_dir=tmp_path,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, data)
    assert recorder.losses == pytest.approx([loss for _, loss in loop.losses(state.run)], abs=1e-5)
    held_out = float(trainer.callback_metrics["evaluation/loss"])
    assert held_out == pytest.approx(loop.losses(state.run, "evaluation")[-1][1], abs=1e-4)
