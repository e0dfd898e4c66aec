"""Running the work items of a plan: on a ``concurrent.futures`` executor, or on Ray.

What travels is the number of an item and the name of a folder; ids go from the worker to the disk. An item
whose worker died is tried again: whatever it left behind is never taken for a result. What an item itself
raises, such as a full disk or a changed input, ends the run at once.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from typing import Any

from gptbpe import extras
from gptbpe.cluster.item import Receipt, make_item, receipt
from gptbpe.cluster.joining import join, missing
from gptbpe.cluster.plan import Plan
from gptbpe.errors import GptBpeError, MissingExtraError, ShardError
from gptbpe.shards.reader import ShardReader
from gptbpe.types import Progress

__all__ = ["run", "run_on_ray"]


def run(
    plan: Plan,
    executor: Callable[[], Executor] = ProcessPoolExecutor,
    *,
    threads: int | None = 1,
    tries: int = 3,
    force: bool = False,
    progress: Progress | None = None,
) -> ShardReader:
    """Make the items of a plan that are missing on an executor, and join them.

    Args:
        plan: the plan.
        executor: makes the executor, in which items run: ``ProcessPoolExecutor`` (one process per core),
            that of Dask (``client.get_executor``), of MPI, ….  When a worker dies the executor is broken, and
            another is made. It is shut down at the end.
        threads: that encode an item; None for one per core of the machine.
        tries: how often workers may die before all stops.
        force: replace other shards in the folder.
        progress: called as ``progress("work items", items_done, items_in_all)``.

    Raises:
        ShardError: workers died too often. What an item raised itself is raised as it is.
    """
    failures, failed = 0, None
    while waiting := missing(plan):
        done = len(plan.items) - len(waiting)
        try:
            with executor() as pool:
                running = [
                    pool.submit(_work_or_error, str(plan.out), plan.digest, number, threads)
                    for number in waiting
                ]
                try:
                    for future in as_completed(running):
                        if isinstance(made := future.result(), OSError):
                            failed = made
                            break
                        done += 1
                        if progress:
                            progress("work items", done, len(plan.items))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
                if failed is not None:
                    pool.shutdown(cancel_futures=True)
        except (BrokenExecutor, OSError) as error:
            failures += 1
            if failures >= tries:
                raise ShardError(
                    f"work items failed {failures} times, lastly with {type(error).__name__}: {error}; what "
                    "is finished stays, and the same call goes on with the rest"
                ) from error
        if failed is not None:
            raise failed
    return join(plan, force=force)


def run_on_ray(
    plan: Plan,
    *,
    threads: int | None = 1,
    tries: int = 3,
    force: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> ShardReader:
    """Make the items of a plan that are missing as Ray tasks, and join them on this machine.

    Ray is started on this machine if it was not initialised (``ray.init()``). The folder of the dataset and
    the inputs must be seen by all of its machines under the same names.

    Args:
        plan: the plan.
        threads: that encode an item.
        tries: how often an item is tried where its worker, or the machine, dies.
        force: replace other shards in the folder.
        progress: called as ``progress("work items", items_done, items_in_all)``.
        options: of the tasks, as for ``ray.remote``: ``num_cpus``, ``scheduling_strategy``, ….

    Raises:
        MissingExtraError: Ray is not installed.
        ShardError: workers died too often. What an item raised itself is raised as it is.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(f"Ray is missing; install it with: {extras.install('ray')}") from error
    if not ray.is_initialized():
        ray.init()
    task = ray.remote(max_retries=tries - 1, **options)(_work)
    waiting = missing(plan)
    done = len(plan.items) - len(waiting)
    running = [task.remote(str(plan.out), plan.digest, number, threads) for number in waiting]
    try:
        while running:
            ready, running = ray.wait(running)
            ray.get(ready)
            done += len(ready)
            if progress:
                progress("work items", done, len(plan.items))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (GptBpeError, OSError)):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise ShardError(
            f"work items failed on Ray: {error}; what is finished stays, and the same call goes on"
        ) from error
    finally:
        for left in running:
            ray.cancel(left, force=True)
    return join(plan, force=force)


def _work_or_error(out: str, digest: str, number: int, threads: int | None) -> Receipt | OSError:
    """Make an item; return the system's error, so that those that are raised are of the executor itself."""
    try:
        return _work(out, digest, number, threads)
    except OSError as error:
        return error


def _work(out: str, digest: str, number: int, threads: int | None) -> Receipt:
    """Make an item, in a worker."""
    plan = Plan.load(out)
    if plan.digest != digest:
        raise ShardError(f"{plan.folder} has another plan by now; start again")
    made = make_item(plan, number, threads=threads)
    if receipt(plan, number) != made:
        raise ShardError(f"work item {number} was made twice with different results; remove {plan.folder}")
    return made
