"""Training: optimizers, schedule, the state of a run, the step, the loop, and what a run writes down."""

from typing import TYPE_CHECKING

from gptbpe.lazy import lazily

if TYPE_CHECKING:
    from gptmodel.training.config import Config, TrainConfig
    from gptmodel.training.log import read_metrics
    from gptmodel.training.loop import train
    from gptmodel.training.state import TrainState

__all__ = [
    "Config",
    "TrainConfig",
    "TrainState",
    "read_metrics",
    "train",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Config": "config",
        "TrainConfig": "config",
        "TrainState": "state",
        "read_metrics": "log",
        "train": "loop",
    },
)
