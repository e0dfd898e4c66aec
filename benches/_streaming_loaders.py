"""Loaders of shuffled tokens for ``batches.py``: litdata, MosaicML streaming, Grain, datatrove.

Each is driven as its documentation has users train with it, in one process and, where it can be chosen, one
thread: a dataset in its own format whose samples are ``length + 1`` tokens, its own shuffle, its own or
PyTorch's loader with batches of ``rows``. Then ids become int64, inputs and targets, which is as much as
nanoGPT's ``get_batch`` does. Files are local, and the dataset is in the page cache.

What an epoch is worth is measured on a small dataset of the same kind. Every window begins with other tokens,
by which it is known again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Windows = npt.NDArray[np.uint16]
"""Samples, one a row."""
Make = Callable[[int], tuple[Any, Any]]
Verdicts = tuple[str, str, str]
Epoch = Callable[[int, int], Iterator[torch.Tensor]]
"""The batches of one epoch for a rank of so many; each has its share of the rows."""

SMALL_WINDOWS, SMALL_ROWS = 512, 32


class Peer:
    """A dataset in a peer's format, and how to iterate over it."""

    name = ""
    shares = True
    """Whether the peer itself says which samples a rank reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, windows: Windows) -> None:
        """Make the dataset."""
        raise NotImplementedError

    def epoch(self, rows: int, rank: int = 0, ranks: int = 1) -> Iterator[torch.Tensor]:
        """Yield the batches of a new epoch, of shape (rows / ranks, length + 1)."""
        raise NotImplementedError


class LitData(Peer):
    """``StreamingDataset`` over ``TokensLoader`` chunks of 64 MB, through ``StreamingDataLoader``."""

    name = "litdata StreamingDataLoader"

    def write(self, windows: Windows) -> None:
        """Write chunks as ``optimize`` does."""
        from litdata.streaming import TokensLoader  # type: ignore[import-not-found]
        from litdata.streaming.writer import BinaryWriter  # type: ignore[import-not-found]

        self.folder.mkdir()
        self._loader = TokensLoader(windows.shape[1])
        writer = BinaryWriter(str(self.folder), chunk_bytes="64MB", item_loader=self._loader)
        for number, window in enumerate(windows):
            writer.add_item(number, torch.from_numpy(window.astype(np.int32)))
        writer.done()
        writer.merge()

    def epoch(self, rows: int, rank: int = 0, ranks: int = 1) -> Iterator[torch.Tensor]:
        """Shuffle whole chunks, and the samples of each."""
        from litdata import StreamingDataLoader, StreamingDataset, TokensLoader
        from litdata.utilities.env import _DistributedEnv  # type: ignore[import-not-found]

        loader = TokensLoader(self._loader._block_size)
        dataset = StreamingDataset(str(self.folder), item_loader=loader, shuffle=True, drop_last=ranks > 1)
        dataset.distributed_env = _DistributedEnv(ranks, rank, 1)
        yield from StreamingDataLoader(dataset, batch_size=rows // ranks, num_workers=0)


class Mosaic(Peer):
    """``StreamingDataset`` over MDS shards with one column of ids, through PyTorch's ``DataLoader``."""

    name = "MosaicML StreamingDataset"

    def write(self, windows: Windows) -> None:
        """Write MDS shards of the default size."""
        from streaming import MDSWriter  # type: ignore[import-not-found]

        self._columns = {"tokens": f"ndarray:uint16:{windows.shape[1]}"}
        with MDSWriter(out=str(self.folder), columns=self._columns) as writer:
            for window in windows:
                writer.write({"tokens": window})

    def epoch(self, rows: int, rank: int = 0, ranks: int = 1) -> Iterator[torch.Tensor]:
        """Shuffle with the default algorithm, ``py1e``; ranks get what the dataset plans for them."""
        from streaming import StreamingDataset
        from streaming.base.batching import generate_work  # type: ignore[import-not-found]
        from streaming.base.util import clean_stale_shared_memory  # type: ignore[import-not-found]
        from streaming.base.world import World  # type: ignore[import-not-found]

        class Tokens(StreamingDataset):  # type: ignore[misc]
            def __getitem__(self, at: int) -> Any:
                return torch.from_numpy(super().__getitem__(at)["tokens"].astype(np.int64))

        clean_stale_shared_memory()
        dataset = Tokens(local=str(self.folder), shuffle=True, batch_size=rows // ranks)
        if ranks == 1:
            yield from torch.utils.data.DataLoader(dataset, batch_size=rows, num_workers=0)
            return
        dataset.num_canonical_nodes = 1  # what it sets on one node
        dataset._set_shuffle_block_size(World(1, ranks, 1, rank))
        work = generate_work("random", dataset, World(1, ranks, 1, rank), 0, 0)
        for batch in work[0, rank, 0]:
            yield torch.stack([dataset[int(at)] for at in batch if at >= 0])


class Grain(Peer):
    """``MapDataset`` over an ArrayRecord file: shuffle, decode, batch; no reading threads."""

    name = "Grain MapDataset"

    def write(self, windows: Windows) -> None:
        """Write a record a sample, one in a group, for random access."""
        from array_record.python.array_record_module import (  # type: ignore[import-not-found]
            ArrayRecordWriter,
        )

        self.folder.mkdir()
        writer = ArrayRecordWriter(str(self.folder / "tokens.array_record"), "group_size:1")
        for window in windows:
            writer.write(window.tobytes())
        writer.close()

    def epoch(self, rows: int, rank: int = 0, ranks: int = 1) -> Iterator[torch.Tensor]:
        """Shuffle all samples; a rank has every so many of them."""
        import grain  # type: ignore[import-not-found]

        source = grain.sources.ArrayRecordDataSource(str(self.folder / "tokens.array_record"))
        dataset = grain.MapDataset.source(source).shuffle(seed=0)[rank::ranks]
        dataset = dataset.map(lambda record: np.frombuffer(record, np.uint16).astype(np.int64))
        dataset = dataset.batch(rows // ranks, drop_remainder=True)
        for batch in dataset.to_iter_dataset(grain.ReadOptions(num_threads=0)):
            yield torch.from_numpy(batch)


class Datatrove(Peer):
    """``DatatroveFolderDataset`` through PyTorch's ``DataLoader``, which shuffles its samples."""

    name = "datatrove FolderDataset"

    def write(self, windows: Windows) -> None:
        """Write ids without a header, which is all that this loader reads."""
        self.folder.mkdir()
        windows.tofile(self.folder / "tokens.ds")
        self._length = windows.shape[1] - 1

    def epoch(self, rows: int, rank: int = 0, ranks: int = 1) -> Iterator[torch.Tensor]:
        """Shuffle with PyTorch's sampler: the dataset's own ``shuffle`` is of whole files."""
        from datatrove.utils.dataset import DatatroveFolderDataset  # type: ignore[import-not-found]

        data = torch.utils.data
        dataset = DatatroveFolderDataset(str(self.folder), self._length, shuffle=True)
        sampler = data.DistributedSampler(dataset, ranks, rank, shuffle=True, seed=0)
        loader = data.DataLoader(dataset, batch_size=rows // ranks, sampler=sampler, num_workers=0)
        for batch in loader:
            yield batch["input_ids"]


PEERS: dict[str, type[Peer]] = {
    "litdata": LitData,
    "streaming": Mosaic,
    "grain": Grain,
    "datatrove": Datatrove,
}
"""By the module that must be there."""


def loader(kind: type[Peer], folder: Path, windows: Windows, rows: int) -> tuple[str, Make, Verdicts]:
    """Return the name of a peer, what makes its next batch, and what an epoch of it is worth."""
    warnings.filterwarnings("ignore")
    peer = kind(folder / "large")
    folder.mkdir()
    peer.write(windows)
    stream: Iterator[torch.Tensor] = chain.from_iterable(peer.epoch(rows) for _ in iter(int, 1))

    def make(_: int) -> tuple[Any, Any]:
        while len(batch := next(stream)) < rows:  # the last one of an epoch
            pass
        batch = batch.long()
        return batch[:, :-1].numpy(), batch[:, 1:].numpy()

    small = kind(folder / "small")
    chosen = windows[:SMALL_WINDOWS]
    small.write(chosen)
    return peer.name, make, _verdicts(small, chosen)


def _verdicts(peer: Peer, windows: Windows) -> Verdicts:
    known = {window[:8].tobytes(): number for number, window in enumerate(windows)}

    def numbers(rank: int, ranks: int) -> list[list[int]]:
        batches = islice(peer.epoch(SMALL_ROWS, rank, ranks), len(windows) * 2 // SMALL_ROWS)
        return [[known[row[:8].astype(np.uint16).tobytes()] for row in batch.numpy()] for batch in batches]

    alone = numbers(0, 1)
    once = sorted(chain.from_iterable(alone)) == list(range(len(windows)))
    same = all(
        [
            sorted(chain.from_iterable(parts))
            for parts in zip(*(numbers(r, ranks) for r in range(ranks)), strict=True)
        ]
        == [sorted(batch) for batch in alone]
        for ranks in (2, 4)
    )
    largest = max((path for path in peer.folder.iterdir()), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 4 * 2)  # a whole number of ids
    return _yes(once), _yes(same), _after_cut(lambda: numbers(0, 1), len(windows))


def _after_cut(epoch: Callable[[], list[list[int]]], windows: int) -> str:
    """What an epoch over a file that was cut off ends with, in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 3
        with contextlib.suppress(BaseException), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            signal.alarm(60)
            try:
                code = 0 if sum(map(len, epoch())) == windows else 4
            except KeyError:
                code = 4  # other ids than those that were written
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "hangs" if os.WTERMSIG(status) == signal.SIGALRM else "dies"
    return "yes" if os.WEXITSTATUS(status) == 3 else "no"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
