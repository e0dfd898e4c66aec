"""The settings of the optimizers. This file imports no torch, so that the command line knows them at once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["OptimConfig"]


class OptimConfig(BaseModel):
    """The optimizer and the clipping before it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    optimizer: str = Field("adamw", description="optimizer: adamw or muon")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    head_learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate of the embedding and the head [default: the learning rate]",
    )
    matrix_learning_rate: float = Field(
        0.02, gt=0, description="with muon: peak learning rate of the matrices in the blocks"
    )
    momentum: float = Field(
        0.95, ge=0, lt=1, description="with muon: decay of the running average of gradients"
    )
    weight_decay: float = Field(0.1, ge=0, description="decoupled weight decay of the matrices")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(0.95, ge=0, lt=1, description="decay of the second moment")
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the second moment")
    grad_clip: float = Field(1.0, ge=0, description="clip the gradient to this norm; 0 does not clip")
