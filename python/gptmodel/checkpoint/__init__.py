"""Checkpoints: the format of one, the store of a run's, and run folders."""

from gptmodel.checkpoint.format import Checkpoint, Snapshot, read, record_evaluation, verify
from gptmodel.checkpoint.store import (
    CheckpointConfig,
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
