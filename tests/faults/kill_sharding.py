"""Kill ``shard_files`` at random moments, 2,000 times, and look at what it leaves.

    python tests/faults/kill_sharding.py --kills 2000

Two stories take turns. A new dataset: a killed run leaves no manifest or the whole dataset, and running
again ends with the bytes of a run that nobody disturbed. A dataset that replaces another with ``force``: at
every moment the folder holds the whole old dataset or the whole new one. Afterwards nothing of a dead writer
is left.

A child is forked for each run, so a kill costs as little as the work that it ends. Several campaigns run at
once, each with folders and random moments of its own; how long an undisturbed run takes is learned from those
that end, since it changes with what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _child import Child

from gptbpe import ShardReader, Tokenizer, shard_files
from gptbpe.shards import build

# A dozen shards and more, made of thirty batches.
DOCUMENTS = 600
build.BATCH_BYTES = 800
SHARD_TOKENS = 600


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a dataset, without the journal, which names the inputs of one machine."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".inputs.json"}


def is_whole(folder: Path) -> bool:
    """Read the whole dataset; raise if anything in it is wrong. False where there is no manifest."""
    if not (folder / "manifest.json").exists():
        return False
    reader = ShardReader(folder, verify="full")
    assert reader.tokenizer() is not None
    return True


class Story:
    """Texts, a tokenizer, and the datasets that undisturbed runs make of the texts."""

    def __init__(self, folder: Path, threads: int = 2) -> None:
        self.folder = folder
        self.threads = threads
        self.texts = [folder / "one.txt", folder / "two.txt"]
        self.texts[0].write_text("It was the best of times.\n<|endoftext|>\n" * DOCUMENTS)
        self.texts[1].write_text("It was the worst of times.\n<|endoftext|>\n" * DOCUMENTS)
        self.tokenizer = Tokenizer.train(self.texts[0].read_bytes(), vocab_size=270)
        self.whole = []
        self.left: Counter[int] = Counter()
        """How many kills left so many files of tokens."""
        self.seconds = 0.0
        """What a run takes, lately."""
        for number in range(2):
            self.run(number, folder / f"whole-{number}")
            self.whole.append(contents(folder / f"whole-{number}"))

    def shard(self, text: int, out: Path, *, force: bool) -> None:
        """Do the work."""
        shard_files(
            self.texts[text],
            self.tokenizer,
            out,
            shard_tokens=SHARD_TOKENS,
            threads=self.threads,
            force=force,
        )

    def run(self, text: int, out: Path, *, force: bool = False) -> None:
        """Do the work in a process of its own, to its end."""
        assert self.run_until(text, out, None, force=force)

    def run_until(self, text: int, out: Path, seconds: float | None, *, force: bool) -> bool:
        """Do the work in a process of its own that is killed after a time; return whether it ended before."""
        from_nothing = force or not out.exists()
        began = time.monotonic()
        child = Child(lambda: self.shard(text, out, force=force), "the writer")
        if seconds is not None:
            time.sleep(seconds)
            child.kill()
        if not child.ended():
            self.left[len(list(out.glob("shard-*.bin")))] += 1
            return False
        if seconds is None and from_nothing:
            took = time.monotonic() - began
            self.seconds = took if not self.seconds else 0.7 * self.seconds + 0.3 * took
        return True

    def kill_a_new_one(self, dice: random.Random, kills: int) -> int:
        """Kill runs over one folder until one ends; return how many were killed."""
        out = self.folder / "new"
        killed = 0
        ended = False
        while not ended and killed < kills:
            ended = self.run_until(0, out, dice.uniform(0, self.seconds), force=False)
            killed += not ended
            assert not is_whole(out) or contents(out).items() >= self.whole[0].items()
        self.run(0, out)
        assert contents(out) == self.whole[0], "the bytes of an undisturbed run"
        shutil.rmtree(out)
        return killed

    def kill_a_replacement(self, dice: random.Random) -> bool:
        """Kill a run that replaces a dataset; return whether it was killed in time."""
        out = self.folder / "replaced"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self.folder / "whole-0", out)
        old = contents(out)
        ended = self.run_until(1, out, dice.uniform(0, 1.2 * self.seconds), force=True)
        assert is_whole(out), "neither the old dataset nor the new one is left"
        read = [shard.path.read_bytes() for shard in ShardReader(out).shards]
        expected = [
            [data for name, data in sorted(whole.items()) if name.endswith(".bin")]
            for whole in (old, self.whole[1])
        ]
        assert read in expected
        self.run(1, out, force=True)
        assert contents(out) == self.whole[1]
        return not ended


def campaign(kills: int, seed: int) -> tuple[Counter[str], Counter[int]]:
    """Kill so many runs; return how many of each kind fell into the work, and how many shards they left."""
    dice = random.Random(seed)
    landed = Counter(new=0, replaced=0)
    with tempfile.TemporaryDirectory() as name:
        story = Story(Path(name))
        while (done := landed.total()) < kills:
            if landed["new"] <= landed["replaced"]:
                landed["new"] += story.kill_a_new_one(dice, kills - done)
            else:
                landed["replaced"] += story.kill_a_replacement(dice)
    return landed, story.left


def main() -> None:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="campaigns at a time")
    arguments = parser.parse_args()
    began = time.monotonic()
    jobs = max(1, min(arguments.jobs, arguments.kills))
    shares = [(arguments.kills + job) // jobs for job in range(jobs)]
    seeds = [arguments.seed * 1000 + job for job in range(jobs)]
    landed: Counter[str] = Counter()
    left: Counter[int] = Counter()
    with ProcessPoolExecutor(jobs) as pool:
        for kinds, shards in pool.map(campaign, shares, seeds):
            landed.update(kinds)
            left.update(shards)
    print(
        f"{landed.total()} kills ({landed['new']} of new datasets, {landed['replaced']} of "
        f"replacements): nothing wrong ({time.monotonic() - began:.0f} s)"
    )
    print("files of tokens that they left:", ", ".join(f"{n} ({left[n]} kills)" for n in sorted(left)))


if __name__ == "__main__":
    main()
