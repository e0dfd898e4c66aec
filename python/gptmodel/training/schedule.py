"""Learning rate as a pure function of the step: warm-up, then cosine, linear, wsd or constant.

Nothing here keeps state, so a resumed run needs no scheduler to restore: step 37 has the rate of step 37.
Sources: cosine after warm-up, Loshchilov and Hutter 2017 (SGDR) as used by GPT-3; warmup-stable-decay with a
linear decay, Hu et al. 2024 (MiniCPM) and Hägele et al. 2024.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ScheduleConfig", "learning_rate_factor", "warmup_steps"]


class ScheduleConfig(BaseModel):
    """How the learning rate moves over a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schedule: Literal["cosine", "linear", "wsd", "constant"] = Field(
        "cosine",
        description="learning rate after warm-up: cosine, linear, wsd (constant, then linear) or constant",
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="steps of linear warm-up [default: a twentieth of the run, at most 200]"
    )
    decay_fraction: float = Field(
        0.4,
        ge=0,
        le=1,
        description="with wsd: share of the run, at its end, in which the learning rate falls",
    )
    final_fraction: float = Field(
        0.1, ge=0, le=1, description="learning rate at the end, as a share of the peak"
    )


def warmup_steps(config: ScheduleConfig, total_steps: int) -> int:
    """The steps of warm-up of a run of ``total_steps``."""
    if config.warmup_steps is not None:
        return min(config.warmup_steps, total_steps)
    return min(200, total_steps // 20)


def learning_rate_factor(config: ScheduleConfig, step: int, total_steps: int) -> float:
    """What the peak learning rate is multiplied by at ``step`` (0-based) of ``total_steps``.

    Warm-up is linear and never zero: step 0 has 1/warmup. The last step, ``total_steps - 1``, has
    ``final_fraction`` (but for constant). Steps beyond the end keep it.

    >>> learning_rate_factor(ScheduleConfig(schedule="cosine", warmup_steps=4, final_fraction=0.0), 1, 100)
    0.5
    """
    warmup = warmup_steps(config, total_steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    if config.schedule in ("wsd", "linear"):
        decaying = 1.0 if config.schedule == "linear" else config.decay_fraction
        start = max(warmup, round(total_steps * (1 - decaying)))
        if step < start:
            return 1.0
        # the first decaying step already moves, so that the last one arrives
        done = min(1.0, (step - start + 1) / max(1, total_steps - start))
        return 1.0 + (config.final_fraction - 1.0) * done
    done = min(1.0, (step - warmup) / max(1, total_steps - 1 - warmup))
    return config.final_fraction + (1.0 - config.final_fraction) * 0.5 * (1.0 + math.cos(math.pi * done))
