"""Options that do nothing in a call, and why: whoever gives one expects something of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gptmodel.config import Resolved
from gptmodel.processes import place
from gptmodel.training.config import Config

__all__ = ["idle"]

RULES: tuple[tuple[str, Callable[[Config], bool], str], ...] = (
    ("data.vocab", lambda c: c.data.shards is not None, "the shards have a tokenizer already"),
    (
        "data.vocab",
        lambda c: c.data.shards is None and c.data.tokenizer not in (None, "characters"),
        "it is the size of a vocabulary to train, and --tokenizer names one",
    ),
    ("data.vocab", lambda c: c.data.tokenizer == "characters", "characters are as many as the text has"),
    ("train.resize_vocab", lambda c: c.train.init_from is None, "it is about the weights of --init-from"),
    ("train.sample_prompt", lambda c: c.train.sample_tokens == 0, "--sample-tokens 0 writes no samples"),
    ("train.sample_every", lambda c: c.train.sample_tokens == 0, "--sample-tokens 0 writes no samples"),
    ("train.shard_model", lambda c: place().alone, "there is one process; torchrun starts several"),
    ("optim.matrix_learning_rate", lambda c: c.optim.optimizer != "muon", "it is for --optimizer muon"),
    ("optim.momentum", lambda c: c.optim.optimizer != "muon", "it is for --optimizer muon"),
    ("schedule.decay_fraction", lambda c: c.schedule.schedule != "wsd", "it is for --schedule wsd"),
    (
        "schedule.final_fraction",
        lambda c: c.schedule.schedule == "constant",
        "--schedule constant keeps the learning rate",
    ),
    ("model.rotary_base", lambda c: c.model["position"] != "rotary", "it is for --position rotary"),
)
"""Setting, when it does nothing, and why."""


def idle(resolved: Resolved) -> Iterator[str]:
    """A sentence for each option of the command line that does nothing with the others."""
    for name, is_idle, why in RULES:
        origin = resolved.origins.get(name, "")
        if origin.startswith("--") and is_idle(resolved.config):
            yield f"{origin} does nothing here: {why}"
