"""The same model, step and shards under Lightning's Trainer, for those whose tooling stands on it.

``GPTLightningModule`` and ``ShardDataModule`` take the configuration that ``gptmodel train`` takes. Lightning
then calls what our own loop calls: the model's loss, the groups of ``optim``, the schedule's rate for the
step, the sampler's batch for the step. So ``Trainer(max_steps=N, gradient_clip_val=config.optim.grad_clip)``
gives the losses of our loop. Needs the extra: ``pip install 'gptbpe[lightning]'``.

``config.train.batch_size`` is the batch of a step, however many ranks and micro-batches share it: each of the
Trainer's processes reads its rows of it, in ``accumulate_grad_batches`` parts.

    data = ShardDataModule(config)
    trainer = lightning.Trainer(max_steps=200, gradient_clip_val=config.optim.grad_clip)
    trainer.fit(GPTLightningModule(config, data.model_config, total_steps=200), data)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from gptmodel.data import IGNORE_INDEX, TrainingData, prepare
from gptmodel.errors import ConfigError
from gptmodel.model import ModelConfig
from gptmodel.training.config import EVALUATED_BATCHES, Config
from gptmodel.training.distributed import Ranks
from gptmodel.training.loop import micro_batches
from gptmodel.training.optim import build_optimizer
from gptmodel.training.schedule import learning_rate_factor
from gptmodel.training.state import build_model, choose_model_config, stored_tokenizer

__all__ = ["GPTLightningModule", "ShardDataModule"]

Batch = tuple[Tensor, ...]


class GPTLightningModule(lightning.LightningModule):
    """A GPT of ``model_config`` that trains as ``config`` says, over ``total_steps`` steps.

    Batches are (inputs, targets), ids (B, T). Logs ``train/loss`` and ``evaluation/loss`` in nats a token.
    """

    def __init__(self, config: Config, model_config: ModelConfig, total_steps: int) -> None:
        super().__init__()
        self.config, self.total_steps = config, total_steps
        self.model = build_model(config, model_config)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        logits: Tensor = self.model(ids_BT)
        return logits

    def training_step(self, batch: Batch, index: int) -> Tensor:
        # Training windows are full of targets: the mean over ranks and micro-batches is that over the batch.
        # (With documents apart a few do not count, and parts weigh a little more than in our loop.)
        inputs, targets, *documents = batch
        masked = documents[0] if documents else None
        loss = self.model.loss(inputs, targets, documents_BT=masked, ignore_index=IGNORE_INDEX)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        inputs, targets = batch
        counted = int((targets != IGNORE_INDEX).sum())
        loss = self.model.loss(inputs, targets, ignore_index=IGNORE_INDEX, reduction="sum") / max(1, counted)
        self.log("evaluation/loss", loss, batch_size=counted, on_epoch=True, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.config.optim, self.device)
        # A fused optimizer offers to undo the scale of 16-mixed within its step. Lightning would then leave
        # the gradients scaled and refuse to clip them; without the offer it scales back first, then clips.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        rate = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(self.config.schedule, step, self.total_steps)
        )
        # LambdaLR multiplies the rate that each group had: it must be the group's own peak
        rate.base_lrs = [group["peak_learning_rate"] for group in optimizer.param_groups]
        for group, peak in zip(optimizer.param_groups, rate.base_lrs, strict=True):
            group["lr"] = peak * learning_rate_factor(self.config.schedule, 0, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}


class _Steps(IterableDataset[Batch]):
    """One rank's rows of the batches of steps ``start``, ``start + 1``, …, each in ``parts``, without end.

    The Trainer says when to stop.

    Raises ConfigError when the batch cannot be divided into equal parts.
    """

    def __init__(self, data: TrainingData, start: int, ranks: Ranks, parts: int) -> None:
        rows = ranks.rows(data.batch_size)
        if (rows.stop - rows.start) % parts:
            raise ConfigError(
                f"--batch-size {data.batch_size} cannot be divided into equal micro-batches by {ranks.size} "
                f"processes with accumulate_grad_batches={parts}: take a multiple of {ranks.size * parts}"
            )
        self.data, self.start, self.rows, self.parts = data, start, rows, parts

    def __iter__(self) -> Iterator[Batch]:
        for step in itertools.count(self.start):
            batch = self.data.batch(step, self.rows)
            yield from zip(*(tensor.chunk(self.parts) for tensor in batch), strict=True)


class _HeldOut(IterableDataset[Batch]):
    """One rank's share of the held-out batches that our loop evaluates."""

    def __init__(self, data: TrainingData, rows: int, batches: int, ranks: Ranks) -> None:
        self.data, self.rows, self.batches, self.ranks = data, rows, batches, ranks

    def __iter__(self) -> Iterator[Batch]:
        if self.data.evaluation is not None:
            whole = itertools.islice(self.data.evaluation(self.rows), self.batches)
            yield from micro_batches(whole, self.ranks, None)


class ShardDataModule(lightning.LightningDataModule):
    """The text or shards that ``config`` names, with the same part held out as in our loop.

    ``model_config`` is the model's configuration with the tokenizer's vocabulary. Training goes on at the
    Trainer's step, so a resumed Trainer reads the batches that come next. Raises DataError as ``gptmodel
    train`` does.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.data = prepare(
            config.data,
            context_length=config.model["context_length"],
            batch_size=config.train.batch_size,
            seed=config.train.seed,
            stored_tokenizer=lambda: stored_tokenizer(config),
        )
        self.model_config = choose_model_config(config, self.data)

    def train_dataloader(self) -> DataLoader[Batch]:
        start, parts = 0, 1
        if self.trainer is not None:
            start, parts = self.trainer.global_step, self.trainer.accumulate_grad_batches
        return DataLoader(_Steps(self.data, start, self._ranks(), parts), batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        settings = self.config.train
        most = settings.eval_batches or EVALUATED_BATCHES
        held_out = _HeldOut(self.data, settings.batch_size, most, self._ranks())
        return DataLoader(held_out, batch_size=None)

    def _ranks(self) -> Ranks:
        if self.trainer is None:
            return Ranks()
        return Ranks(rank=self.trainer.global_rank, size=self.trainer.world_size)
