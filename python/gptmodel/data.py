"""From what the user has (text or shards) to batches that are a function of (seed, step).

Text is tokenized once: its shards go to a cache under a name made of the digests of the text and of the
tokenizer, so the same text is found again and a changed one never mistaken for it. The cache is
``$GPTMODEL_CACHE``, else ``$XDG_CACHE_HOME/gptmodel``, else ``~/.cache/gptmodel``; it may be deleted at any
time.

What is held out to evaluate on is ``--eval-data``, or else the last tenth of the tokens (at most 2^20 of
them, all of the last shard), which no training window touches. The order of the rest is gptbpe's keyed
permutation: window g of the run is a function of g, so a run's position is one number, whatever the batch was
split into.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from tqdm import tqdm

from gptmodel import checkpoint, evaluate, initial
from gptmodel.errors import DataError, did_you_mean
from gptmodel.metrics import human
from gptmodel.model import ModelConfig
from gptmodel.windows import evaluation_windows, shard_parts

if TYPE_CHECKING:
    from gptbpe import Sampler, ShardReader, Tokenizer
    from gptmodel.config import Config

__all__ = ["Batches", "DataConfig", "TrainingData", "cache_folder", "prepare", "shard_text", "training_data"]

HELD_OUT_FRACTION = 0.1
HELD_OUT_TOKENS = 2**20


class DataConfig(BaseModel):
    """What to train on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: Path | None = Field(None, description="folder of token shards, as `gptbpe shard` makes them")
    train_data: tuple[Path, ...] | None = Field(
        None, description="text files to train on; tokenized once and cached"
    )
    eval_data: tuple[Path, ...] | None = Field(
        None,
        description="text files or a folder of shards to evaluate on; left out: the last tenth is held out",
    )
    tokenizer: str | None = Field(
        None,
        description="tokenizer file, packaged name (gpt2), or `characters`; left out: trained on the text",
    )
    vocab: int = Field(512, gt=0, description="size of the vocabulary to train when no tokenizer is given")
    stride: int | None = Field(
        None, gt=0, description="tokens from one window's start to the next; left out: the context length"
    )
    shuffle: bool = Field(True, description="a new order every epoch; else from the front to the end")
    num_workers: int = Field(
        0,
        ge=0,
        description="accepted for other trainers' command lines: threads read the shards, no processes",
    )


@dataclass
class TrainingData:
    """All that a run needs of its data."""

    shape: ModelConfig
    sampler: Sampler
    windows: int
    batch_size: int
    tokenizer: Tokenizer | None
    token_bytes: Tensor | None = field(repr=False)
    evaluation: Callable[[int], Iterable[tuple[Tensor, Tensor]]] | None
    prompt: list[int]
    identity: dict[str, Any]
    description: list[str]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step, int64 (batch size, context length) on the CPU."""
        inputs, targets = self.sampler.batch(step * self.batch_size, self.batch_size)
        return torch.from_numpy(inputs).long(), torch.from_numpy(targets).long()

    def batches(self, device: torch.device, start: int, stop: int) -> Batches:
        """The batches of steps ``start`` to ``stop``, on the device."""
        return Batches(self.batch, device, start, stop)


class Batches:
    """Batches of consecutive steps on a device; a context manager.

    On CUDA a thread reads one batch ahead into pinned memory while the device computes, and the copy does not
    block. ``waited`` is the seconds that the last batch kept the loop waiting.
    """

    def __init__(
        self, batch: Callable[[int], tuple[Tensor, Tensor]], device: torch.device, start: int, stop: int
    ) -> None:
        self.waited = 0.0
        self._batch, self._device, self._steps = batch, device, range(start, stop)
        self._ahead = ThreadPoolExecutor(1, "batches") if device.type == "cuda" else None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        future: Future[tuple[Tensor, Tensor]] | None = None
        for step in self._steps:
            began = time.perf_counter()
            if self._ahead is None:
                inputs, targets = self._batch(step)
            else:
                inputs, targets = (future or self._ahead.submit(self._pinned, step)).result()
                future = self._ahead.submit(self._pinned, step + 1) if step + 1 in self._steps else None
            self.waited = time.perf_counter() - began
            yield inputs.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)

    def _pinned(self, step: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self._batch(step)
        return inputs.pin_memory(), targets.pin_memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ahead is not None:
            self._ahead.shutdown(wait=True, cancel_futures=True)


def prepare(config: Config, resume: Path | None = None) -> TrainingData:
    """Open or make the shards that ``config`` names, find the tokenizer, and set apart what is held out.

    Raises DataError when there is too little text, or when tokenizer, shards and model do not fit one
    another.
    """
    from gptbpe import ShardReader

    data = config.data
    if (data.shards is None) == (data.train_data is None):
        raise DataError("name what to train on: --shards FOLDER or --train-data FILE, one of the two")
    if data.shards is not None:
        if not data.shards.is_dir():
            raise DataError(
                f"no folder of shards at {data.shards}: make one with "
                f"`gptbpe shard TEXT -t TOKENIZER -o {data.shards}`"
            )
        tokenizer = None if data.tokenizer is None else named_tokenizer(data.tokenizer)
        reader = ShardReader(data.shards)
        stored = reader.tokenizer()
        if tokenizer is not None and tokenizer.fingerprint != reader.tokenizer_fingerprint:
            raise DataError(
                f"the shards in {data.shards} were made with another tokenizer than {data.tokenizer}: "
                f"fingerprint {reader.tokenizer_fingerprint[:12]}, given {tokenizer.fingerprint[:12]}"
            )
        tokenizer = tokenizer or stored
        origin = str(data.shards)
    else:
        assert data.train_data is not None
        paths = existing(data.train_data)
        tokenizer = text_tokenizer(config, paths, resume)
        reader = ShardReader(shard_text(paths, tokenizer))
        origin = ", ".join(map(str, paths))
    held_out = None if data.eval_data is None else evaluation_reader(data.eval_data, tokenizer, reader)
    return training_data(config, reader, tokenizer, origin, held_out)


def training_data(
    config: Config,
    reader: ShardReader,
    tokenizer: Tokenizer | None,
    origin: str,
    held_out: ShardReader | None = None,
) -> TrainingData:
    """Training and evaluation windows over open shards; without ``held_out`` the end of ``reader`` is set
    apart.
    """
    from gptbpe import Sampler

    data, batch_size = config.data, config.train.batch_size
    vocab_size = max(reader.vocab_size, tokenizer.vocab_size if tokenizer else 0)
    shape = config.model_shape(vocab_size)
    if shape.vocab_size < vocab_size:
        raise DataError(
            f"the tokenizer of {origin} has {vocab_size:,} tokens, the model a vocabulary of "
            f"{shape.vocab_size:,}: leave --vocab-size out or raise it"
        )
    length = shape.context_length
    lengths = [shard.tokens for shard in reader.shards]
    reserved = 0 if held_out else held_out_tokens(lengths, length)
    longest = max(lengths, default=0)
    if longest <= length:
        raise DataError(
            f"{origin} has {longest:,} tokens, too few for one window of {length} and its target: "
            "give more text or a smaller --context-length"
        )
    sampler = Sampler(
        reader,
        length,
        seed=config.train.seed,
        order="global" if data.shuffle else "sequential",
        stride=data.stride or length,
        reserve=reserved,
    )
    if held_out is not None:
        evaluated, said = shard_parts(held_out), "from --eval-data"
    else:
        evaluated, said = end_of(reader, reserved) if reserved else [], "the end of the text"
    tokens = reader.total_tokens - reserved
    evaluated_tokens = sum(map(len, evaluated))
    description = [
        f"data      {origin}: {human(tokens)} tokens to train on, {len(sampler):,} windows"
        + ("" if data.shuffle else ", in order"),
        f"held out  {human(evaluated_tokens)} tokens, {said}"
        if evaluated_tokens > 1
        else "held out  nothing: too little text",
    ]
    if data.num_workers:
        description.append(
            "workers   none needed: threads of this process read the shards (--num-workers is accepted)"
        )
    return TrainingData(
        shape=shape,
        sampler=sampler,
        windows=len(sampler),
        batch_size=batch_size,
        tokenizer=tokenizer,
        token_bytes=None if tokenizer is None else evaluate.token_bytes(tokenizer, shape.vocab_size),
        evaluation=(lambda rows: evaluation_windows(evaluated, length, length, rows))
        if evaluated_tokens > 1
        else None,
        prompt=opening(evaluated[0] if evaluated else reader.tokens(0, 0, min(256, lengths[0])), tokenizer)[
            : min(8, length)
        ],
        identity={"tokenizer": reader.tokenizer_fingerprint, "data": sampler.fingerprint},
        description=description,
    )


def opening(ids: Any, tokenizer: Tokenizer | None) -> list[int]:
    """The first ids of a line, for a sample to begin with."""
    first = [int(i) for i in ids[:256]]
    if tokenizer is not None:
        breaks = [at for at, i in enumerate(first) if tokenizer.token_bytes(i).endswith(b"\n")]
        if breaks and breaks[0] + 1 < len(first):
            return first[breaks[0] + 1 :]
    return first


def held_out_tokens(lengths: Sequence[int], length: int) -> int:
    """How many tokens at the end of the last shard are set apart; 0 when training would be left with less
    than a window.
    """
    last, total = lengths[-1] if lengths else 0, sum(lengths)
    wanted = min(int(total * HELD_OUT_FRACTION), HELD_OUT_TOKENS, last)
    enough_left = any(tokens > length for tokens in lengths[:-1]) or last - wanted > length
    return wanted if wanted > 1 and enough_left else 0


def end_of(reader: ShardReader, count: int) -> list[Any]:
    """The last ``count`` tokens of the last shard; only they are read and checked."""
    shard = len(reader.shards) - 1
    tokens = reader.shards[shard].tokens
    return [reader.tokens(shard, tokens - count, tokens)]


def held_out_parts(config: Config, tokenizer: Tokenizer) -> list[Any]:
    """The ids that a run of ``config`` sets apart to evaluate on. Raises DataError where there are none."""
    from gptbpe import ShardReader

    data = config.data
    if data.eval_data is not None:
        reader = None if data.shards is None else ShardReader(data.shards)
        return shard_parts(evaluation_reader(data.eval_data, tokenizer, reader))
    folder = data.shards or shard_text(existing(data.train_data or ()), tokenizer)
    whole = ShardReader(folder)
    lengths = [shard.tokens for shard in whole.shards]
    reserved = held_out_tokens(lengths, config.model_shape().context_length)
    if not reserved:
        raise DataError("the run held nothing out, its text was too small: give --data")
    return end_of(whole, reserved)


# --- text and tokenizers ---


def existing(paths: Sequence[Path]) -> list[Path]:
    """The paths, checked: files that are there and not empty."""
    for path in paths:
        if path.is_dir():
            raise DataError(
                f"{path} is a folder: name its text files, or use --shards for a folder of shards"
            )
        if not path.is_file():
            near = did_you_mean(
                path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
            )
            raise DataError(f"there is no file {path}{near}")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty: there is nothing to train on")
    return list(paths)


def named_tokenizer(name: str) -> Tokenizer:
    """A tokenizer from a file or a packaged name."""
    from gptbpe import Tokenizer

    if Path(name).exists() or name.endswith((".json", ".tiktoken")):
        return Tokenizer.load(name)
    return Tokenizer.get(name)


def text_tokenizer(config: Config, paths: list[Path], resume: Path | None) -> Tokenizer:
    """The tokenizer for text: the one named, that of the run or the weights, or one trained on the text."""
    from gptbpe import Tokenizer

    data, init_from = config.data, config.train.init_from
    if data.tokenizer is not None and data.tokenizer != "characters":
        return named_tokenizer(data.tokenizer)
    if resume is not None:
        return checkpoint.load_tokenizer(resume)
    names = [str(path) for path in paths]
    if data.tokenizer == "characters":
        return Tokenizer.characters(names)
    if init_from is not None:
        file = initial.tokenizer_of(init_from)
        if file is None:
            raise DataError(
                f"--init-from {init_from} has no tokenizer.json: give --tokenizer (for GPT-2, gpt2)"
            )
        return Tokenizer.load(file)
    say(f"no --tokenizer: training a vocabulary of {data.vocab:,} on the text")
    return Tokenizer.train(names, vocab_size=data.vocab)


def evaluation_reader(
    paths: Sequence[Path], tokenizer: Tokenizer | None, reader: ShardReader | None
) -> ShardReader:
    """Shards of the text to evaluate on, or the folder of shards that it is. Raises DataError for another
    tokenizer's.
    """
    from gptbpe import ShardReader

    if len(paths) == 1 and paths[0].is_dir():
        other = ShardReader(paths[0])
        if reader is not None and other.tokenizer_fingerprint != reader.tokenizer_fingerprint:
            raise DataError(
                f"--eval-data {paths[0]} was made with another tokenizer than the training data: "
                f"{other.tokenizer_fingerprint[:12]}, not {reader.tokenizer_fingerprint[:12]}"
            )
        return other
    if tokenizer is None:
        raise DataError("--eval-data is text, but the shards carry no tokenizer: give --tokenizer")
    return ShardReader(shard_text(existing(paths), tokenizer))


def cache_folder() -> Path:
    """Where shards of plain text are kept."""
    if chosen := os.environ.get("GPTMODEL_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gptmodel"


def shard_text(paths: Sequence[Path], tokenizer: Tokenizer) -> Path:
    """The folder of shards of these files under this tokenizer, made now or found in the cache."""
    from gptbpe import shard_files

    digest = hashlib.sha256(tokenizer.fingerprint.encode())
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest() + path.suffix.encode() + b"\0")
    folder = cache_folder() / "shards" / digest.hexdigest()[:24]
    if (folder / "manifest.json").exists():
        return folder
    say(f"tokenizing {', '.join(map(str, paths))} -> {folder}")
    with tqdm(unit="B", unit_scale=True, desc="sharding", disable=not sys.stderr.isatty()) as bar:

        def show(phase: str, done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shard_files(list(paths), tokenizer, folder, progress=show, force=True)
    return folder


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
