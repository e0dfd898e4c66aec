"""Flip every bit of a shard of 64 KB, of its sidecar and of its manifest, and cut each file at every length.

    python tests/faults/damage_shards.py

Each damaged dataset is opened and read whole, as a user would read it. It has to end in a ``ShardError``, or
in the tokens that were written: nothing else, and no damage without a word. ``--step 101`` takes every 101st.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from gptbpe import ShardReader, ShardWriter, errors

SHARD_BYTES = 64 << 10
FILES = ("shard-00000.bin", "shard-00000.gbx", "manifest.json")


def write(folder: Path) -> None:
    """Write one shard of 64 KB."""
    count = (SHARD_BYTES - 1024) // 2
    ids = np.random.default_rng(0).integers(0, 299, count)
    ends = np.sort(np.random.default_rng(1).choice(count, 200, replace=False))
    with ShardWriter(folder, vocab_size=300) as writer:
        writer.write_ragged(ids, np.array([0, *ends, count]))
    assert (folder / FILES[0]).stat().st_size == SHARD_BYTES


class Dataset:
    """A dataset on disk that is damaged and mended again and again."""

    def __init__(self, folder: Path) -> None:
        write(folder)
        self.folder = folder
        self.good = self.read()
        self.noticed = self.harmless = 0

    def read(self) -> tuple[bytes, bytes]:
        """Return all tokens and document ends."""
        reader = ShardReader(self.folder)
        return reader.tokens(0).tobytes(), reader.documents(0).tobytes()

    def try_to_read(self, what: str) -> None:
        """Read the damaged dataset."""
        try:
            found = self.read()
        except errors.ShardError:
            self.noticed += 1
            return
        assert found == self.good, f"{what} went unnoticed"
        self.harmless += 1

    def flip(self, name: str, step: int, first: int) -> None:
        """Flip bits of a file, one at a time."""
        data = (self.folder / name).read_bytes()
        file = os.open(self.folder / name, os.O_RDWR)
        for bit in range(first, 8 * len(data), step):
            at = bit // 8
            os.pwrite(file, bytes([data[at] ^ 1 << bit % 8]), at)
            self.try_to_read(f"bit {bit} of {name}")
            os.pwrite(file, data[at : at + 1], at)
        os.close(file)
        assert self.read() == self.good

    def cut(self, name: str, step: int, first: int) -> None:
        """Cut a file off at lengths from all of it down to nothing, and make it longer."""
        path = self.folder / name
        data = path.read_bytes()
        path.write_bytes(data + b"\0")
        self.try_to_read(f"a byte after {name}")
        path.write_bytes(data)
        for length in range(len(data) - 1 - first, -1, -step):
            os.truncate(path, length)
            self.try_to_read(f"{name} cut to {length} bytes")
        path.write_bytes(data)
        assert self.read() == self.good


def campaign(step: int, first: int = 0) -> Dataset:
    """Damage everything, or every ``step``-th thing; return the counts."""
    with tempfile.TemporaryDirectory() as name:
        dataset = Dataset(Path(name))
        for file in FILES:
            dataset.flip(file, step, first % step)
            dataset.cut(file, step, first % step)
        return dataset


def main() -> None:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--step", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    done = campaign(arguments.step)
    print(
        f"{done.noticed + done.harmless:,} damaged files: {done.noticed:,} noticed, {done.harmless:,} "
        f"harmless, none unnoticed ({time.monotonic() - began:.0f} s)"
    )


if __name__ == "__main__":
    main()
