"""Kill work items and their join at random moments, and look at what comes of them.

    python tests/faults/kill_items.py --kills 500

A plan of several items is worked on by two processes at a time, which take the same items, are killed and
begin again; then joining is killed and begins again. The dataset must be, byte for byte, the one that an
undisturbed process made without a plan, or, where items have shards of their own, the one that undisturbed
processes made by the same plan; and nothing of the plan may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

from _child import Child

from gptbpe import ShardReader, Tokenizer, cluster, shard_files
from gptbpe.cluster.plan import FOLDER

ITEMS = 4
SHARD_TOKENS = 1500


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a dataset."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def killed(dice: random.Random, children: list[Child], seconds: float) -> int:
    """Kill processes after a time; return how many did not end before."""
    time.sleep(dice.uniform(0, seconds))
    for child in children:
        child.kill()
    return sum([not child.ended() for child in children])


def campaign(kills: int, seed: int) -> dict[str, int]:
    """Kill so many processes; return how many of each kind fell into the work."""
    dice = random.Random(seed)
    landed = {"items": 0, "joins": 0}
    with tempfile.TemporaryDirectory() as name:
        stories = [Story(Path(name), own_shards=own_shards) for own_shards in (False, True)]
        while sum(landed.values()) < kills:
            for story in stories:
                story.kill_items(dice, landed)
                story.kill_joins(dice, landed)
    return landed


class Story:
    """A text, and the dataset that undisturbed processes make of it by a plan of one kind."""

    def __init__(self, folder: Path, *, own_shards: bool) -> None:
        self._own_shards = own_shards
        self._text = folder / "text.txt"
        self._text.write_text("It was the best of times.\n<|endoftext|>\n" * 3000)
        os.utime(self._text, (0, 0))
        self._tokenizer = Tokenizer.train(self._text.read_bytes(), vocab_size=270)
        self._out = folder / f"data-{own_shards}"
        plan = self._plan(self._out)
        began = time.monotonic()
        for number in range(ITEMS):
            assert self._item(plan, number).ended()
        self._item_seconds = (time.monotonic() - began) / ITEMS
        began = time.monotonic()
        assert self._join().ended()
        self._join_seconds = time.monotonic() - began
        self._whole = contents(self._out)
        if not own_shards:
            shard_files(self._text, self._tokenizer, folder / "whole", shard_tokens=SHARD_TOKENS, threads=1)
            assert self._whole == contents(folder / "whole")

    def kill_items(self, dice: random.Random, landed: dict[str, int]) -> None:
        """Make all items, each by processes that are killed and begin again."""
        shutil.rmtree(self._out)
        plan = self._plan(self._out)
        for number in range(ITEMS):
            for _ in range(3):
                children = [self._item(plan, number) for _ in range(2)]
                landed["items"] += killed(dice, children, 1.2 * self._item_seconds)
            # Several at a time, all of which must end well.
            children = [self._item(plan, number) for _ in range(2)]
            assert [child.ended() for child in children] == [True, True]
        assert cluster.missing(plan) == []

    def kill_joins(self, dice: random.Random, landed: dict[str, int]) -> None:
        """Join the items by processes that are killed and begin again, and look at the dataset."""
        for _ in range(4):
            landed["joins"] += killed(dice, [self._join()], 1.2 * self._join_seconds)
            if (self._out / "manifest.json").exists():
                ShardReader(self._out, verify="full")
        assert self._join().ended()
        assert contents(self._out) == self._whole, "the bytes of undisturbed processes"

    def _plan(self, out: Path) -> cluster.Plan:
        return cluster.make(
            self._text, self._tokenizer, out, ITEMS, shard_tokens=SHARD_TOKENS, own_shards=self._own_shards
        )

    def _item(self, plan: cluster.Plan, number: int) -> Child:
        return Child(lambda: cluster.make_item(plan, number, threads=1), f"work item {number}")

    def _join(self) -> Child:
        def join() -> None:
            if (self._out / FOLDER).exists():
                cluster.join(cluster.Plan.load(self._out))
            else:
                cluster.tidy(self._out)

        return Child(join, "joining")


def main() -> None:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    landed = campaign(arguments.kills, arguments.seed)
    print(
        f"{sum(landed.values())} kills ({landed['items']} of items, {landed['joins']} of joins): nothing "
        f"wrong ({time.monotonic() - began:.0f} s)"
    )


if __name__ == "__main__":
    main()
