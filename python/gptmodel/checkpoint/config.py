"""The settings of saving. This file imports no torch, so that the command line knows them at once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CheckpointConfig"]


class CheckpointConfig(BaseModel):
    """When to save, and how many to keep."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    save_every: int | None = Field(None, gt=0, description="save every N steps [default: a tenth of the run]")
    save_every_epochs: int | None = Field(
        None, gt=0, description="also save every N epochs, with a link `NAME_eEPOCH`; these are never deleted"
    )
    keep: int = Field(
        2, ge=1, description="checkpoints to keep, in addition to the best one and those of epochs"
    )
