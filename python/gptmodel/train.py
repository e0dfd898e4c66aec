"""``python -m gptmodel.train --shards data/`` is ``gptmodel train``; `train` is its function.

The loop is in `gptmodel.training.loop`, the step in `gptmodel.training.step`.
"""

from gptmodel.training.loop import train
from gptmodel.training.state import TrainState

__all__ = ["TrainState", "train"]

if __name__ == "__main__":
    from gptmodel.cli import run_train

    run_train()
