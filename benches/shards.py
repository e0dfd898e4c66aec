"""Shards besides batches: checking, the cost of safety when writing, going on anywhere. One core.

    python benches/shards.py                       all, some 30 seconds
    python benches/shards.py --text FILE           another text to encode
    python benches/shards.py --megabytes 16        does everything work?

Verifying: a dataset of random ids in the page cache, read from the first byte to the last, all checksums.

Writing: checksums and fsync as shares of the processor's time that encoding a text took. Checksums of its
ids go at the speed of verifying, which reads from memory what a writer has in its cache; fsync is that of a
plain file of the same bytes. How sharding compares with encoding by the clock says ``encode.py``.

Going on: from a saved state of a plan with more than 10^12 samples to the first batch. Times are medians.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from statistics import median

import _inputs
import numpy as np

from gptbpe import Sampler, ShardReader, ShardWriter, Tokenizer

ROUNDS = 9
LLM_C_TOKENS = 2**31 - 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="left out: Python's own documentation, over and over"
    )
    parser.add_argument("--megabytes", type=int, default=256, help="of tokens to verify")
    settings = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    text = settings.text.read_bytes() if settings.text else "\n".join(topics.values()).encode() * 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rate = verifying(folder / "random", settings.megabytes << 20)
        print(f"verify, hot: {rate / 1e9:.1f} GB/s")
        checksums, fsync = writing(folder, text, rate)
        size = len(text) / 1e6
        print(f"writing ÷ encoding {size:.0f} MB with gpt2: checksums {checksums:.1%}, fsync {fsync:.1%}")
        samples, seconds = going_on(folder / "sparse")
        print(f"from a state to the first row of 1,024, among {samples:.2e} samples: {seconds * 1e3:.3f} ms")
    print(_inputs._cpu())


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def processed(work: Callable[[], object]) -> float:
    """Seconds of the processor, in all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def verifying(folder: Path, size: int) -> float:
    """Bytes a second."""
    ids = np.random.default_rng(0).integers(0, 50_257, size // 2, dtype=np.uint16)
    with ShardWriter(folder, vocab_size=50_257) as writer:
        for part in np.array_split(ids, max(1, size >> 13)):
            writer.write(part)
    reader = ShardReader(folder)
    return size / median(timed(lambda: reader.check(0)) for _ in range(ROUNDS))


def writing(folder: Path, text: bytes, rate: float) -> tuple[float, float]:
    """Checksums and fsync, each ÷ encoding."""
    documents = text.split(b"\n\n")

    def encode() -> np.ndarray:
        return Tokenizer.get("gpt2").encode_ragged(documents, threads=1, disallowed_special=())[0]

    data = np.asarray(encode(), np.uint16).tobytes()
    encoding = median(processed(encode) for _ in range(3))
    fsync = []
    with (folder / "plain").open("wb", buffering=0) as file:
        for _ in range(ROUNDS):
            file.seek(0)
            file.write(data)
            fsync.append(processed(lambda: os.fsync(file)))
    return len(data) / rate / encoding, median(fsync) / encoding


def going_on(folder: Path) -> tuple[int, float]:
    """Samples of a plan, and seconds from a state to the first batch."""
    folder.mkdir()
    header = np.zeros(256, np.int32)
    header[:3] = 20240520, 1, LLM_C_TOKENS
    for number in range(466):
        with (folder / f"tokens_{number:03}.bin").open("wb") as file:
            file.write(header.tobytes())
            file.truncate(1024 + 2 * LLM_C_TOKENS)
    sampler = Sampler(ShardReader(folder, vocab_size=50_257), 1024, stride=1)
    places = np.random.default_rng(0).integers(0, 10**13, 200).tolist()
    states = [sampler.state(place) for place in places]
    took = [timed(lambda state=state: sampler.batch(sampler.resume(state), 1)) for state in states]
    return len(sampler), median(took)


if __name__ == "__main__":
    main()
