"""Checkpoints: the format of one, the store of a run's, and run folders."""

from typing import TYPE_CHECKING

from gptbpe.lazy import lazily

if TYPE_CHECKING:
    from gptmodel.checkpoint.config import CheckpointConfig
    from gptmodel.checkpoint.format import Checkpoint, Snapshot, read, record_evaluation, verify
    from gptmodel.checkpoint.store import (
        best,
        complete,
        find,
        latest,
        load_tokenizer,
        newest,
        path_of,
        prune,
        save,
        sweep,
    )
    from gptmodel.checkpoint.writer import Writer

__all__ = [
    "Checkpoint",
    "CheckpointConfig",
    "Snapshot",
    "Writer",
    "best",
    "complete",
    "find",
    "latest",
    "load_tokenizer",
    "newest",
    "path_of",
    "prune",
    "read",
    "record_evaluation",
    "save",
    "sweep",
    "verify",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Checkpoint": "format",
        "CheckpointConfig": "config",
        "Snapshot": "format",
        "Writer": "writer",
        "best": "store",
        "complete": "store",
        "find": "store",
        "latest": "store",
        "load_tokenizer": "store",
        "newest": "store",
        "path_of": "store",
        "prune": "store",
        "read": "format",
        "record_evaluation": "format",
        "save": "store",
        "sweep": "store",
        "verify": "format",
    },
)
