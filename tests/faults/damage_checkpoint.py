"""Flip every bit of every file of a checkpoint, and go on with what is left of it.

    python tests/faults/damage_checkpoint.py              all of it: some 10 minutes
    python tests/faults/damage_checkpoint.py --step 997   every 997th bit

There are two kinds of damage. What a disk does: a bit is another one. The checkpoint has to be refused,
unless it means what it meant (white space of ``state.json`` for other white space). What somebody does who
wants to break the program: a bit of the configuration, the architecture, the tokenizer, the header of a file
of tensors or the state is another one, and sizes and digests are made right again. Then everything that
resuming reads is read into a model and its optimizer. That has to work or to end in an error of ours, of one
line.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from gptbpe.errors import GptBpeError
from gptmodel import checkpoint
from gptmodel.checkpoint import format
from gptmodel.config import compose
from gptmodel.errors import CheckpointError, GptModelError
from gptmodel.load import GPT
from gptmodel.train import train
from gptmodel.training.config import parse
from gptmodel.training.optim import build_optimizer
from gptmodel.training.restore import restore_model, restore_optimizer, restore_random

TINY: dict[str, Any] = {
    "context_length": 4, "width": 4, "heads": 1, "layers": 1, "batch_size": 2, "max_steps": 1,
    "eval_batches": 1, "sample_tokens": 0, "learning_rate": 1e-2, "vocab": 257, "save_every": 1,
}  # fmt: skip
CPU = torch.device("cpu")
HEADER_SIZE = 8


class Damaged:
    """A checkpoint that is damaged and mended again and again."""

    def __init__(self, folder: Path) -> None:
        (folder / "text.txt").write_text("to be, or not to be: that is the question\n" * 30)
        os.environ["GPTMODEL_CACHE"] = str(folder / "cache")
        settings = {"train_data": (folder / "text.txt",), "output": folder / "runs", **TINY}
        self.path = checkpoint.latest(train(compose(settings).config).run).path
        self.state = checkpoint.verify(self.path).state
        self.files = {file.name: file.read_bytes() for file in sorted(self.path.iterdir())}
        self.counts: collections.Counter[str] = collections.Counter()

    @contextmanager
    def with_file(self, name: str, data: bytes) -> Iterator[None]:
        """Another content of a file, for a while."""
        (self.path / name).write_bytes(data)
        try:
            yield
        finally:
            (self.path / name).write_bytes(self.files[name])

    def flip(self, name: str, bit: int) -> None:
        """What a disk does."""
        with self.with_file(name, flipped(self.files[name], bit)):
            try:
                found = checkpoint.verify(self.path)
            except CheckpointError as error:
                self.counts["refused" if one_line(error) else "refused in many lines"] += 1
                return
            assert name == format.STATE, f"bit {bit} of {name} went unnoticed"
            assert found.state == self.state, f"bit {bit} of {name} went unnoticed"
            self.counts["without a meaning"] += 1

    def forge(self, name: str, bit: int) -> None:
        """What somebody does who knows the digests."""
        state, data = json.loads(json.dumps(self.state)), flipped(self.files[name], bit)
        if name == format.STATE:
            try:
                state = json.loads(data)
            except ValueError:
                return  # which is no state, whatever the digest is
            if not isinstance(state, dict):
                return
        else:
            state["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        state["digest"] = format._digest(state)
        forged = (json.dumps(state, indent=1) + "\n").encode()
        with self.with_file(name, data), self.with_file(format.STATE, forged):
            try:
                self.use()
            except (GptModelError, GptBpeError) as error:
                self.counts["forged and refused" if one_line(error) else "refused in many lines"] += 1
            except Exception as error:
                error.add_note(f"bit {bit} of {name}, with the right digests")
                raise
            else:
                self.counts["forged and of use"] += 1

    def use(self) -> None:
        """Read what resuming and generating read."""
        found = checkpoint.verify(self.path)
        model = GPT.load(self.path)
        config = parse(found.text("config.toml"))
        found.tokenizer()
        optimizer = build_optimizer(model, config.optim, CPU)
        tensors = found.optimizer_tensors()
        restore_optimizer(model, optimizer, tensors, "optimizer.safetensors")
        restore_model(model, found.model_tensors(), "model.safetensors")
        restore_random(tensors, CPU)


def one_line(error: Exception) -> bool:
    """Whether an error says what it says in one line."""
    return "\n" not in str(error)


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes but for one bit."""
    at = bit // 8
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


def header_bits(data: bytes) -> int:
    """How many bits the header of a file of tensors has."""
    return 8 * (HEADER_SIZE + int.from_bytes(data[:HEADER_SIZE], "little"))


def campaign(step: int) -> collections.Counter[str]:
    """Damage every ``step``-th bit in both ways; counts what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        damaged = Damaged(Path(folder))
        damaged.use()
        kinds: list[tuple[Callable[[str, int], None], Callable[[str, bytes], int]]] = [
            (damaged.flip, lambda _, data: 8 * len(data)),
            (damaged.forge, lambda name, data: header_bits(data) if ".safe" in name else 8 * len(data)),
        ]
        for damage, bits in kinds:
            for name, data in damaged.files.items():
                for bit in range(0, bits(name, data), step):
                    damage(name, bit)
        checkpoint.verify(damaged.path)
    assert not damaged.counts["refused in many lines"]
    return damaged.counts


def main() -> None:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--step", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    counts = campaign(arguments.step)
    told = ", ".join(f"{number:,} {what}" for what, number in counts.items())
    print(
        f"{counts.total():,} damaged checkpoints: {told}; none unnoticed ({time.monotonic() - began:.0f} s)"
    )


if __name__ == "__main__":
    main()
