"""``python -m gptmodel.train --shards data/`` is ``gptmodel train``; `train` is its function.

The loop is in `gptmodel.training.loop`, the step in `gptmodel.training.step`.
"""

from gptmodel.threads import wait_politely

if __name__ == "__main__":
    wait_politely()  # before the next line loads torch

from gptmodel.training.loop import train
from gptmodel.training.state import TrainState

__all__ = ["TrainState", "train"]

if __name__ == "__main__":
    from gptmodel.cli import run_train

    run_train()
