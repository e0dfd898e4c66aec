"""The checkpoints of a run: saved, found and removed.

What is newest and what is best is derived from the complete folders, never from a pointer.

Invariants: a failed save leaves every earlier checkpoint as it was; an old one is removed only after the new
one is on the disk; one that an epoch's name links to is never removed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from gptmodel import files
from gptmodel.checkpoint.format import STATE, Checkpoint, Snapshot, read, verify, write
from gptmodel.errors import CheckpointError, did_you_mean

if TYPE_CHECKING:
    from gptbpe import Tokenizer


def save(run: Path, snapshot: Snapshot) -> Path:
    """Write ``checkpoints/step-…`` of ``run`` and return it.

    A checkpoint of the same step that is sound is left as it is. Raises CheckpointError when the disk
    refuses: nothing has changed then.
    """
    folder = run / "checkpoints"
    final = path_of(run, snapshot.step)
    temporary = folder / f".{final.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for parent in (run, run.parent):  # their names have to outlive a power cut, too
                files.flush(parent)
        if not _is_sound(final):
            temporary.mkdir()
            write(temporary, snapshot)
            shutil.rmtree(final, ignore_errors=True)  # only ever a damaged one
            temporary.rename(final)
            files.flush(folder)
        if snapshot.link is not None:
            _link(folder / snapshot.link, final.name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"could not save step {snapshot.step} to {folder}: {_said(error)}; "
            "earlier checkpoints are as they were"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def path_of(run: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` lies, or would lie."""
    return run / "checkpoints" / f"step-{step:08d}"


def complete(run: str | os.PathLike[str]) -> Iterator[Checkpoint]:
    """The checkpoints of a run whose ``state.json`` is sound, newest first."""
    for folder in _folders(run):
        try:
            yield read(folder)
        except CheckpointError:
            continue


def newest(run: str | os.PathLike[str]) -> Checkpoint:
    """The newest checkpoint of a run whose ``state.json`` is sound, its tensors not read yet."""
    found = next(complete(run), None)
    return latest(run) if found is None else found  # which says what is wrong


def latest(run: str | os.PathLike[str], skipped: list[str] | None = None) -> Checkpoint:
    """The newest checkpoint of a run whose every byte is right.

    Reasons for passing newer ones over are appended to ``skipped``. Raises CheckpointError when none is left.
    """
    reasons = skipped if skipped is not None else []
    for folder in _folders(run):
        try:
            return verify(folder)
        except CheckpointError as error:
            reasons.append(str(error))
    raise CheckpointError(reasons[0] if reasons else f"{run} has no checkpoint yet")


def _folders(run: str | os.PathLike[str]) -> list[Path]:
    return sorted((Path(run) / "checkpoints").glob("step-*"), reverse=True)


def best(run: str | os.PathLike[str]) -> Checkpoint | None:
    """The checkpoint with the lowest held-out loss; None where none was evaluated."""
    scored = [(c.evaluation_loss, -c.step, c) for c in complete(run) if c.evaluation_loss is not None]
    return min(scored)[2] if scored else None


def find(path: str | os.PathLike[str]) -> Checkpoint:
    """What ``path`` means: a checkpoint, a run (its newest sound checkpoint), RUN/best or RUN/latest."""
    folder = Path(path)
    if folder.name in ("best", "latest") and not folder.exists():
        if folder.name == "latest":
            return latest(folder.parent)
        found = best(folder.parent)
        if found is None:
            raise CheckpointError(
                f"no checkpoint of {folder.parent} was evaluated: use {folder.parent / 'latest'}"
            )
        return verify(found.path)
    if not folder.exists():
        beside = [entry.name for entry in folder.parent.glob("*")]
        near = did_you_mean(folder.name, beside)
        if not near and " " in folder.name:
            near = f"; a prompt is given as --prompt {shlex.quote(str(folder))}"
        raise CheckpointError(f"no run or checkpoint at {folder}{near}")
    if (folder / STATE).exists() or folder.name.startswith("step-"):
        return verify(folder)
    if (folder / "checkpoints").is_dir():
        return latest(folder)
    raise CheckpointError(
        f"{folder} is neither a run (no checkpoints/) nor a checkpoint (no {STATE}){_beside_it(folder)}"
    )


def _beside_it(folder: Path) -> str:
    """The end of a message about a folder that is no run: the runs in it, or the run that it belongs to."""
    if folder.name == "checkpoints" and any(folder.glob("step-*")):
        return f"; name the run {folder.parent}, or one of the checkpoints in it"
    runs = sorted(path.parent for path in folder.glob("*/checkpoints"))
    if not runs:
        return ""
    more = " …" if len(runs) > 3 else ""
    return f"; name one of the runs in it: {', '.join(map(str, runs[:3]))}{more}"


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer that a run was trained with. Raises CheckpointError where none was stored."""
    return find(path).require_tokenizer()


def prune(run: Path, keep: int) -> None:
    """Remove the oldest checkpoints, all but ``keep``, the best one, and those that another name links to.

    Raises CheckpointError when the disk refuses: what is left is whole then.
    """
    folder = run / "checkpoints"
    try:
        linked = {entry.resolve() for entry in folder.iterdir() if entry.is_symlink()}
        favourite = best(run)
        for checkpoint in list(complete(run))[keep:]:
            if checkpoint.path.resolve() in linked or (favourite and checkpoint.path == favourite.path):
                continue
            # a folder half removed must not look like a checkpoint
            doomed = folder / f".{checkpoint.path.name}.old-{uuid.uuid4().hex[:8]}"
            checkpoint.path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(
            f"could not remove the old checkpoints in {folder}: {_said(error)}; the newest is saved"
        ) from error


def sweep(run: Path) -> None:
    """Remove what a killed process left half written. Only for who holds the run's lock."""
    for entry in (run / "checkpoints").glob(".*"):
        if entry.name.startswith(".step-"):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.is_symlink() and ".tmp-" in entry.name:  # a link to the checkpoint of an epoch
            entry.unlink(missing_ok=True)
    for pattern in (".metrics.jsonl.tmp-*", ".config.toml.tmp-*", f"checkpoints/step-*/.{STATE}.tmp-*"):
        for entry in run.glob(pattern):
            entry.unlink(missing_ok=True)


def _is_sound(path: Path) -> bool:
    try:
        verify(path)
    except CheckpointError:
        return False
    return True


def _link(link: Path, target: str) -> None:
    temporary = link.with_name(f".{link.name}.tmp-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    files.flush(link.parent)


def _said(error: Exception) -> str:
    """What the system said, without its number."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
