"""Training batches from the page cache, one thread: gptbpe's sampler beside nanoGPT's ``get_batch``.

    python benches/batches.py                                   64 x 2,048, 20 rounds
    python benches/batches.py --rounds 2 --tokens 2e6           does everything work? seconds
    python benches/batches.py --peers FOLDER                    a folder with some of litdata, datatrove,
                                                                mosaicml-streaming, grain with array-record,
                                                                megatron-core (pip install --target)
    cargo build --release -p gptbpe-benches --bin batches       then also: a bare copy loop, and packing
    python benches/batches.py --json results/X.json --svg results/X.svg

Every loader reads the same tokens and returns inputs and targets of 64 rows of 2,048, as int64, which
nanoGPT feeds, unless it says otherwise: uint16 is what a loader sends to a device that widens it. In each
round every loader makes so many batches as take some 50 ms, in turns whose order alternates; ratios are
taken within a round. What a loader returns is compared with the file.

The last columns say what an epoch of it is worth: is every window there exactly once, do 1, 2 and 4 ranks
read the same global batches, is a file that was cut short an error?
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import _batches_chart
import _inputs
import _streaming_loaders
import _token_loaders
import numpy as np
import numpy.typing as npt
import torch

from gptbpe import Sampler, ShardReader, ShardWriter

REPOSITORY = Path(__file__).resolve().parents[1]
VOCABULARY = 50_257
Pair = tuple[npt.NDArray[Any], npt.NDArray[Any]]
PEERS = ("megatron-core", "litdata", "mosaicml-streaming", "grain", "array_record", "datatrove")
VERDICTS = ("exactly once", "same for 1, 2, 4 ranks", "cut file noticed")


@dataclass(frozen=True)
class Loader:
    """One way to make batches: ``make(n)`` makes the n-th, whose rows stand at ``starts(n)`` in the text."""

    name: str
    make: Callable[[int], Pair]
    starts: Callable[[int], list[int]] | None
    verdicts: tuple[str, str, str]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tokens", type=float, default=1e8, help="of the text that is made")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="a folder of installed peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw them")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    machine = _inputs.machine(_inputs.Pythons(sys.executable, sys.executable), {})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        result = {"machine": machine, **compare(Path(folder), settings)}
    installed = metadata.distributions(path=[str(settings.peers)]) if settings.peers else ()
    found = {each.metadata["Name"]: each.version for each in installed}
    machine["versions"] |= {name: found[name] for name in PEERS if name in found}
    if settings.json:
        settings.json.write_text(json.dumps(result, indent=1) + "\n")
    if settings.svg:
        settings.svg.write_text(_batches_chart.svg(result))
    return 0


def compare(folder: Path, settings: argparse.Namespace) -> dict[str, Any]:
    reader = write(folder / "data", int(settings.tokens))
    rows, length = settings.rows, settings.length
    loaders = [*ours(reader, rows, length), nanogpt(reader, rows, length)]
    if settings.peers:
        sys.path.append(str(settings.peers))
        loaders += peers(folder, reader, rows, length)
    tokens = np.concatenate([reader.tokens(shard) for shard in range(len(reader.shards))])
    counts = [calibrate(loader, tokens, length) for loader in loaders]
    seconds: list[list[float]] = [[] for _ in loaders]
    at = [1000] * len(loaders)
    for round_number in range(settings.rounds):
        turns = range(len(loaders)) if round_number % 2 == 0 else reversed(range(len(loaders)))
        for turn in turns:
            began = time.perf_counter()
            for _ in range(counts[turn]):
                loaders[turn].make(at[turn])
                at[turn] += 1
            seconds[turn].append((time.perf_counter() - began) / counts[turn])
    base = next(i for i, loader in enumerate(loaders) if loader.name.startswith("nanoGPT"))
    print(f"{rows} x {length:,}, {settings.rounds} rounds, medians; one thread, page cache\n")
    head = f"{'':<34} {'µs':>8} {'Mtok/s':>8} {'nanoGPT ÷ it':>12}  "
    print(head + "  ".join(VERDICTS))
    found = []
    for loader, times in zip(loaders, seconds, strict=True):
        ratio = median(a / b for a, b in zip(seconds[base], times, strict=True))
        mean = median(times)
        verdicts = "  ".join(f"{v:<{len(name)}}" for v, name in zip(loader.verdicts, VERDICTS, strict=True))
        print(
            f"{loader.name:<34} {mean * 1e6:8.0f} {rows * length / mean / 1e6:8.0f} {ratio:12.1f}  {verdicts}"
        )
        found.append(
            {"name": loader.name, "seconds": times, "faster_than_nanogpt": ratio, "verdicts": loader.verdicts}
        )
    core = bare_loop(folder / "data", rows, length)
    first = first_batch(folder, length)
    print(f"\nfirst batch over {first['shards']:,} shards: {first['seconds'] * 1e3:.1f} ms")
    return {
        "shape": [rows, length],
        "rounds": settings.rounds,
        "loaders": found,
        "core": core,
        "first_batch": first,
    }


def write(folder: Path, tokens: int) -> ShardReader:
    """Documents of random ids, as long as those of the web."""
    random = np.random.default_rng(0)
    with ShardWriter(folder, vocab_size=VOCABULARY, eos=VOCABULARY - 1) as writer:
        while tokens > 0:
            length = int(np.clip(random.lognormal(6, 1.1), 1, 1e5))
            writer.write(random.integers(0, VOCABULARY - 1, length, dtype=np.uint16))
            tokens -= length
    return ShardReader(folder)


def calibrate(loader: Loader, tokens: npt.NDArray[Any], length: int) -> int:
    """Compare batches with the text, and return how many take some 50 ms."""
    for number in (0, 1, 50):
        starts = None if loader.starts is None else loader.starts(number)
        inputs, targets = loader.make(number)
        if not np.array_equal(inputs[:, 1:], targets[:, :-1]):
            raise SystemExit(f"{loader.name}: targets are not the inputs shifted")
        for row, start in enumerate(starts or []):
            if not np.array_equal(inputs[row], tokens[start : start + length]):
                raise SystemExit(f"{loader.name}: row {row} of batch {number} is not what stands at {start}")
    began = time.perf_counter()
    for number in range(100, 103):
        loader.make(number)
    return max(1, round(0.05 / ((time.perf_counter() - began) / 3)))


# ---- the loaders -----------------------------------------------------------------------------------


def ours(reader: ShardReader, rows: int, length: int) -> list[Loader]:
    bases = np.cumsum([0, *(shard.tokens for shard in reader.shards)])
    loaders = []
    for dtype in ("int64", "int32", "uint16"):
        sampler = Sampler(reader, length, dtype=dtype)
        out = np.empty((rows, length), dtype), np.empty((rows, length), dtype)

        def make(n: int, sampler: Sampler = sampler, out: Pair = out) -> Pair:
            return sampler.batch(n * rows, rows, out)

        def starts(n: int, sampler: Sampler = sampler) -> list[int]:
            places = (sampler.window(g) for g in range(n * rows, (n + 1) * rows))
            return [int(bases[shard]) + start for shard, start in places]

        loaders.append(Loader(f"gptbpe batch, {dtype}", make, starts, verdicts_of_ours(sampler)))
    sampler = Sampler(reader, length)

    def fresh(n: int) -> Pair:
        return sampler.batch(n * rows, rows)

    loaders.append(Loader("gptbpe batch, new arrays", fresh, None, loaders[0].verdicts))
    return loaders


def verdicts_of_ours(sampler: Sampler) -> tuple[str, str, str]:
    once = len({sampler.window(g) for g in range(len(sampler))}) == len(sampler)
    whole = sampler.batch(0, 16)[0]
    same = all(
        np.array_equal(np.concatenate([sampler.batch(r * 16 // w, 16 // w)[0] for r in range(w)]), whole)
        for w in (1, 2, 4)
    )
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(sampler.reader.path, Path(folder) / "cut")
        os.truncate(
            copy / sampler.reader.shards[0].path.name, sampler.reader.shards[0].path.stat().st_size // 2
        )
        cut = noticed(lambda: Sampler(ShardReader(copy), sampler.sequence_length).batch(0, 64))
    return yes(once), yes(same), yes(cut)


def nanogpt(reader: ShardReader, rows: int, length: int) -> Loader:
    """``get_batch`` of nanoGPT's train.py, word for word but for the names."""
    path = reader.shards[0].path

    def get_batch(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        data = np.memmap(path, dtype=np.uint16, mode="r", offset=1024)
        ix = torch.randint(len(data) - length, (rows,), generator=generator)
        x = torch.stack([torch.from_numpy((data[i : i + length]).astype(np.int64)) for i in ix])
        y = torch.stack([torch.from_numpy((data[i + 1 : i + 1 + length]).astype(np.int64)) for i in ix])
        return x, y

    def make(n: int) -> Pair:
        x, y = get_batch(torch.Generator().manual_seed(n))
        return x.numpy(), y.numpy()

    def starts(n: int) -> list[int]:
        tokens = reader.shards[0].tokens
        generator = torch.Generator().manual_seed(n)
        return torch.randint(tokens - length, (rows,), generator=generator).tolist()

    return Loader("nanoGPT get_batch (numpy memmap)", make, starts, verdicts_of_nanogpt(path, rows, length))


def verdicts_of_nanogpt(path: Path, rows: int, length: int) -> tuple[str, str, str]:
    tokens = len(np.memmap(path, dtype=np.uint16, mode="r", offset=1024))

    def drawn(seed: int, count: int) -> list[int]:
        return torch.randint(
            tokens - length, (count,), generator=torch.Generator().manual_seed(seed)
        ).tolist()

    def epoch(size: int) -> list[int]:  # train.py seeds each rank with 1337 and its number
        return [start for rank in range(size) for start in drawn(1337 + rank, rows // size)]

    windows = tokens // length
    once = len({start // length for start in drawn(1337, windows)}) == windows
    same = all(epoch(size) == epoch(1) for size in (1, 2, 4))
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(shutil.copy(path, folder))
        os.truncate(cut, path.stat().st_size // 4 * 2)  # a whole number of ids
        found = noticed(
            lambda: np.memmap(cut, dtype=np.uint16, mode="r", offset=1024)[-length:].astype(np.int64)
        )
    return yes(once), yes(same), yes(found)


def peers(folder: Path, reader: ShardReader, rows: int, length: int) -> list[Loader]:
    """The loaders of other packages that are installed."""
    found = []
    if find_spec("megatron"):
        make, starts, verdicts = _token_loaders.megatron(folder / "megatron", reader, rows, length)
        found.append(Loader("Megatron-Core GPTDataset", make, starts, verdicts))
    tokens = reader.tokens(0)
    windows = tokens[: len(tokens) // (length + 1) * (length + 1)].reshape(-1, length + 1)
    for module, kind in _streaming_loaders.PEERS.items():
        if find_spec(module):
            name, make, verdicts = _streaming_loaders.loader(kind, folder / module, windows, rows)
            found.append(Loader(name, make, None, verdicts))
    return found


# ---- figures of the core ---------------------------------------------------------------------------


def bare_loop(data: Path, rows: int, length: int) -> dict[str, float] | None:
    program = REPOSITORY / "target" / "release" / "batches"
    if not program.exists():
        return None
    done = subprocess.run([program, data, str(rows), str(length)], capture_output=True, text=True, check=True)
    core: dict[str, float] = json.loads(done.stdout)
    for dtype in ("int64", "int32", "uint16"):
        ours, bare = core[f"fill_{dtype}_us"], core[f"bare_{dtype}_us"]
        print(
            f"\n{dtype}: core {ours:.0f} µs, a bare copy loop {bare:.0f} µs: {bare / ours:.0%} of its speed",
            end="",
        )
    print(
        f"\npacking: {core['packed_documents_per_second'] / 1e6:.1f} million documents a second, "
        f"padding {core['padding']:.4%}"
    )
    return core


def first_batch(folder: Path, length: int, shards: int = 10_000) -> dict[str, float]:
    """From nothing to a batch of 64 rows, with many shards."""
    path = folder / "many"
    with ShardWriter(path, vocab_size=1000, shard_tokens=length + 2) as writer:
        document = np.zeros(length + 2, np.uint16)
        for _ in range(shards):
            writer.write(document)
    began = time.perf_counter()
    Sampler(ShardReader(path), length).batch(0, 64)
    return {"shards": shards, "seconds": time.perf_counter() - began}


def noticed(work: Callable[[], object]) -> bool:
    try:
        work()
    except Exception:
        return True
    return False


def yes(value: bool) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    sys.exit(main())
