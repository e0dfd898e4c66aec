"""Kill work items and their join at random moments, and look at what comes of them.

    python tests/faults/kill_items.py --kills 500

A plan of several items is worked on by two processes at a time, which take the same items, are killed and
begin again; then joining is killed and begins again. The dataset must be, byte for byte, the one that an
undisturbed process made without a plan, and nothing of the plan may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gptbpe import ShardReader, Tokenizer, cluster, shard_files

ITEMS = 4
SHARD_TOKENS = 1500


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a dataset."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def begin(work: Callable[[], object]) -> int:
    """Begin work in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def end(child: int) -> bool:
    """Wait for a process; return whether it ended by itself, without an error."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "the work failed"
    return True


def killed(dice: random.Random, works: list[Callable[[], object]], seconds: float) -> int:
    """Do work in processes that are killed after a time; return how many did not end before."""
    children = [begin(work) for work in works]
    time.sleep(dice.uniform(0, seconds))
    for child in children:
        os.kill(child, signal.SIGKILL)
    return sum([not end(child) for child in children])


def campaign(kills: int, seed: int) -> dict[str, int]:
    """Kill so many processes; return how many of each kind fell into the work."""
    dice = random.Random(seed)
    landed = {"items": 0, "joins": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text.txt"
        text.write_text("It was the best of times.\n<|endoftext|>\n" * 3000)
        tokenizer = Tokenizer.train(text.read_bytes(), vocab_size=270)
        shard_files(text, tokenizer, folder / "whole", shard_tokens=SHARD_TOKENS, threads=1)
        whole = contents(folder / "whole")
        out = folder / "data"
        # Undisturbed once, to know how long it takes.
        began = time.monotonic()
        plan = cluster.make(text, tokenizer, out, ITEMS, shard_tokens=SHARD_TOKENS)
        for number in range(ITEMS):
            assert end(begin(lambda number=number: cluster.make_item(plan, number, threads=1)))
        item_seconds = (time.monotonic() - began) / ITEMS
        began = time.monotonic()
        assert end(begin(lambda: cluster.join(plan)))
        join_seconds = time.monotonic() - began
        while sum(landed.values()) < kills:
            shutil.rmtree(out)
            plan = cluster.make(text, tokenizer, out, ITEMS, shard_tokens=SHARD_TOKENS)
            for number in range(ITEMS):

                def work(plan: cluster.Plan = plan, number: int = number) -> None:
                    cluster.make_item(plan, number, threads=1)

                for _ in range(3):
                    landed["items"] += killed(dice, [work, work], 1.2 * item_seconds)
                # Several at a time, all of which must end well.
                children = [begin(work) for _ in range(2)]
                assert [end(child) for child in children] == [True, True]
            assert cluster.missing(plan) == []

            def join(plan: cluster.Plan = plan) -> None:
                if plan.folder.exists():
                    cluster.join(cluster.Plan.load(plan.out))
                else:
                    cluster.tidy(plan.out)

            for _ in range(4):
                landed["joins"] += killed(dice, [join], 1.2 * join_seconds)
                if (out / "manifest.json").exists():
                    ShardReader(out, verify="full")
            join()
            assert contents(out) == whole, "the bytes of an undisturbed process"
    return landed


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
