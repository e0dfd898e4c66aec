"""Cut, replace and overwrite shards under live readers, 1,000 times, and see whether a reader dies.

    python tests/faults/cut_shards.py --cuts 1000

Readers in a process of their own take batches and tokens without pause, from one dataset, in several threads.
Meanwhile its shards are cut off at random lengths, written over in place or replaced, and made whole again. A
reader may get a ``ShardError`` or tokens inside the vocabulary. It may not die, hang, or get anything else.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gptbpe import ShardReader, ShardWriter

VOCABULARY = 300

READER = """
import sys, threading
import numpy as np
from gptbpe import Sampler, ShardReader, errors

folder, verify = sys.argv[1], sys.argv[2]
read = refused = 0
stop = threading.Event()

def open_again():
    global refused
    while not stop.is_set():
        try:
            return ShardReader(folder, verify=verify, io="mmap")
        except errors.ShardError:
            refused += 1

def batches():
    global read, refused
    while not stop.is_set():
        reader = open_again()
        try:
            if reader is None:
                return
            sampler = Sampler(reader, 128, seed=read)
            for number in range(0, 64, 8):
                inputs, targets = sampler.batch(number, 8)
                assert 0 <= inputs.min() and inputs.max() < 300 and targets.max() < 300
                read += 1
        except errors.ShardError:
            refused += 1

def tokens():
    global read, refused
    while not stop.is_set():
        reader = open_again()
        for shard in range(len(reader.shards) if reader else 0):
            try:
                ids = reader.tokens(shard)
                assert len(ids) == reader.shards[shard].tokens and ids.max() < 300
                read += 1
            except errors.ShardError:
                refused += 1

failed = []
def guarded(work):
    try:
        work()
    except BaseException as error:
        failed.append(error)
        raise

threads = [threading.Thread(target=guarded, args=[work]) for work in (batches, tokens)]
for thread in threads:
    thread.start()
print("reading", flush=True)
sys.stdin.readline()
stop.set()
for thread in threads:
    thread.join()
print(read, refused)
sys.exit(bool(failed))
"""


def damage(path: Path, data: bytes, dice: random.Random) -> None:
    """Do something to a shard that its readers do not expect."""
    kind = dice.randrange(3)
    if kind == 0:
        os.truncate(path, dice.randrange(len(data)))
    elif kind == 1:
        other = path.with_name("other")
        other.write_bytes(data[: dice.randrange(len(data))])
        other.replace(path)
    else:
        with path.open("r+b") as file:
            file.seek(dice.randrange(len(data)))
            file.write(b"\xff" * dice.randrange(1, 5000))


def mend(path: Path, data: bytes, dice: random.Random) -> None:
    """Make the shard whole again, in place or by another file."""
    if dice.random() < 0.5:
        path.write_bytes(data)
    else:
        other = path.with_name("other")
        other.write_bytes(data)
        other.replace(path)


def campaign(cuts: int, seed: int) -> tuple[int, int]:
    """Return how many reads went well and how many were refused; raise if a reader ended otherwise."""
    dice = random.Random(seed)
    read = refused = 0
    for verify in ("open", "lazy"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with ShardWriter(folder, vocab_size=VOCABULARY, shard_tokens=50_000) as writer:
                for _ in range(4):
                    writer.write(np.random.default_rng(seed).integers(0, VOCABULARY, 50_000))
            paths = [shard.path for shard in ShardReader(folder).shards]
            whole = [path.read_bytes() for path in paths]
            with subprocess.Popen(
                [sys.executable, "-c", READER, name, verify],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            ) as reader:  # fmt: skip
                assert reader.stdout is not None
                assert reader.stdout.readline() == "reading\n"
                for _ in range(cuts // 2):
                    number = dice.randrange(len(paths))
                    damage(paths[number], whole[number], dice)
                    time.sleep(dice.uniform(0, 0.005))
                    mend(paths[number], whole[number], dice)
                    time.sleep(dice.uniform(0, 0.005))
                    assert reader.poll() is None, f"the reader ended: {describe(reader.returncode)}"
                found, _ = reader.communicate("\n")
            assert reader.returncode == 0, f"the reader ended: {describe(reader.returncode)}"
            counts = found.split()
            read, refused = read + int(counts[0]), refused + int(counts[1])
    return read, refused


def describe(code: int) -> str:
    """Say how a process ended."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def main() -> None:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    read, refused = campaign(arguments.cuts, arguments.seed)
    print(f"{arguments.cuts} cuts under live readers: 0 deaths, {read:,} reads, {refused:,} exceptions")


if __name__ == "__main__":
    main()
