"""``python -m gptmodel.train --shards data/`` is ``gptmodel train``; `train` is its function.

The loop is in `gptmodel.training.loop`, the step in `gptmodel.training.step`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptmodel.training.loop import train
    from gptmodel.training.state import TrainState

__all__ = ["TrainState", "train"]


def __getattr__(name: str) -> Any:
    """Fetch `train` and `TrainState` when first asked for: they import torch, which takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'gptmodel.train' has no attribute {name!r}", name=name)
    from gptmodel import training

    return getattr(training, name)


if __name__ == "__main__":
    from gptmodel.__main__ import main

    main(["train"])
