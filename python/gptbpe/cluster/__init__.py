"""Datasets that several processes or machines make together, on any engine.

:func:`make` plans so many work items and writes the plan into the dataset's folder. :func:`make_item` makes
one of them, in any process on any machine that sees the folder; it may be killed, repeated, or done twice at
a time. :func:`join` makes the dataset of the finished items: the same bytes as ``shard_files`` on one
machine. :func:`run` and :func:`run_on_ray` do all of this on an executor or on Ray. The same steps are
``gptbpe shard --plan``, ``--work-item`` and ``--join``, for array jobs.

>>> import tempfile
>>> from pathlib import Path
>>> from gptbpe import Tokenizer, cluster
>>> folder = Path(tempfile.mkdtemp())
>>> for name in "ab":
...     _ = (folder / f"{name}.txt").write_text("low lower")
>>> plan = cluster.make(folder, Tokenizer.get("gpt2"), folder / "data", items=2)
>>> [cluster.make_item(plan, number).tokens for number in (1, 0)]
[2, 2]
>>> cluster.join(plan).total_tokens
6
"""

from __future__ import annotations

from gptbpe.cluster.dividing import divide
from gptbpe.cluster.engines import run, run_on_ray
from gptbpe.cluster.item import Receipt, make_item
from gptbpe.cluster.joining import join, missing, tidy
from gptbpe.cluster.plan import Plan, make

__all__ = ["Plan", "Receipt", "divide", "join", "make", "make_item", "missing", "run", "run_on_ray", "tidy"]
