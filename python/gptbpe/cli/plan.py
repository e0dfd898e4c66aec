"""``gptbpe shard --plan``, ``--work-item`` and ``--join``: one dataset by several machines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gptbpe import cluster
from gptbpe.cli import console
from gptbpe.shards import ShardReader
from gptbpe.sources import Name
from gptbpe.tokenizer import Tokenizer


def make_plan(
    inputs: Sequence[Name],
    tokenizer: Tokenizer,
    output: Path,
    items: int,
    *,
    separator: str,
    separator_at: Literal["end", "start"],
    text_field: str,
    shard_tokens: int,
    own_shards: bool,
    force: bool,
    json: bool,
) -> None:
    """Write a plan, and say what to do with it."""
    plan = cluster.make(
        inputs,
        tokenizer,
        output,
        items,
        separator=separator or None,
        separator_at=separator_at,
        text_field=text_field,
        shard_tokens=shard_tokens,
        own_shards=own_shards,
        force=force,
    )
    filled = sum(1 for parts in plan.items if parts)
    if json:
        console.write_json(
            {"output": str(output), "items": len(plan.items), "with_documents": filled, "plan": plan.digest}
        )
        return
    last = len(plan.items) - 1
    console.say(f"{len(plan.items)} work items, {filled} of them with documents -> {plan.folder}")
    console.say(f"next: gptbpe shard -o {output} --work-item 0, … --work-item {last}, on any machines")
    console.say(f"then: gptbpe shard -o {output} --join")


def make_item(output: Path, number: int, threads: int | None, json: bool) -> None:
    """Make a work item of the plan in a folder; a dataset that is finished needs none."""
    if _finished(output):
        console.say(f"{output} is finished: there is nothing to do")
        return
    plan = cluster.Plan.load(output)
    began = time.monotonic()
    with console.progress(quiet=json) as show:
        made = cluster.make_item(plan, number, threads=threads, progress=show)
    seconds = time.monotonic() - began
    if json:
        summary = {"item": made.item, "documents": made.documents, "tokens": made.tokens}
        console.write_json({**summary, "text_bytes": made.text_bytes, "seconds": round(seconds, 3)})
        return
    console.say(
        f"work item {number} of {len(plan.items)}: {made.tokens:,} tokens from "
        f"{console.size(made.text_bytes)} in {made.documents:,} documents ({seconds:.1f} s)"
    )


def join(output: Path, force: bool, quiet: bool) -> ShardReader:
    """Make the dataset of the items; one that is finished is opened."""
    if _finished(output):
        cluster.tidy(output)
        return ShardReader(output)
    with console.progress(quiet=quiet) as show:
        return cluster.join(cluster.Plan.load(output), force=force, progress=show)


def _finished(output: Path) -> bool:
    """Whether there is a dataset and no plan, as the last step leaves it."""
    if (output / ".plan" / "plan.json").exists():
        return False
    if (output / "manifest.json").exists():
        return True
    raise console.Failure(
        f"there is no plan in {output}; make one: gptbpe shard INPUTS -t TOKENIZER -o {output} --plan N"
    )
