"""From what the user has (text or shards) to batches that are a function of (seed, step).

No training window touches what `gptmodel.data.split` holds out. The order of the rest is gptbpe's keyed
permutation: window g of the run is a function of g, so a run's position is one number, whatever the batch was
split into.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from gptmodel.data.config import DataConfig
from gptmodel.data.sources import Source, held_out_ends, held_out_of, open_shards, plan
from gptmodel.data.split import check_evaluation, evaluation_reader
from gptmodel.data.tokenize import existing, named_tokenizer, shard_text, text_tokenizer, token_bytes
from gptmodel.data.transfer import BUFFERS, HostBatch, SideStream, Turns
from gptmodel.data.windows import evaluation_windows, shard_parts
from gptmodel.errors import DataError
from gptmodel.units import human

if TYPE_CHECKING:
    from gptbpe import Mixture, Sampler, ShardReader, Tokenizer

__all__ = ["Batches", "TrainingData", "held_out_parts", "prepare", "training_data"]


@dataclass
class TrainingData:
    """All that a run needs of its data."""

    sampler: Sampler | Mixture
    vocab_size: int
    windows: int
    batch_size: int
    tokenizer: Tokenizer | None
    token_bytes: Tensor | None = field(repr=False)
    evaluation: Callable[[int], Iterable[tuple[Tensor, Tensor]]] | None
    prompt: list[int]
    identity: dict[str, Any]
    origin: str
    description: list[str]
    masked: bool = False

    def batch(self, step: int, rows: slice | None = None) -> tuple[Tensor, ...]:
        """Inputs and targets of a step, int64 (batch size, context length) on the CPU; or ``rows`` of it.

        Where attention stays inside documents, ``masked``, a third tensor numbers those of each row.
        """
        start, stop, _ = (rows or slice(None)).indices(self.batch_size)
        first, count = step * self.batch_size + start, stop - start
        if self.masked:
            found = self.sampler.masked_batch(first, count, mask_boundaries=True)
            documents = torch.from_numpy(found.position_ids == 0).cumsum(1)
            return torch.from_numpy(found.inputs).long(), torch.from_numpy(found.targets).long(), documents
        inputs, targets = self.sampler.batch(first, count)
        return torch.from_numpy(inputs).long(), torch.from_numpy(targets).long()

    def batches(self, device: torch.device, start: int, stop: int, rows: slice | None = None) -> Batches:
        """The batches of steps ``start`` to ``stop``, on the device; or ``rows`` of each."""
        steps = range(start, stop)
        if device.type != "cuda":
            return Batches(
                lambda step: self.batch(step, rows),
                lambda batch: tuple(part.to(device, non_blocking=True) for part in batch),
                steps,
            )
        side = SideStream(device)
        return Batches(self.turns(side.send, rows, pinned=True).make, side.receive, steps, ahead=True)

    def turns(
        self,
        send: Callable[[HostBatch], tuple[Any, Any]],
        rows: slice | None = None,
        *,
        pinned: bool = False,
    ) -> Turns[Any]:
        """What fills buffers with the batches of steps, or with ``rows`` of each, and sends them."""
        first, stop, _ = (rows or slice(None)).indices(self.batch_size)
        buffers = [
            HostBatch(self.sampler, stop - first, masked=self.masked, pinned=pinned) for _ in range(BUFFERS)
        ]
        return Turns(buffers, lambda step, buffer: buffer.fill(step * self.batch_size + first), send)


class Batches:
    """Batches of consecutive steps on a device; a context manager.

    ``make(step)`` begins to make one and ``receive`` ends it; with ``ahead`` a thread makes the next one
    while the device computes. ``waited`` is the seconds that the last batch kept the loop waiting.
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        receive: Callable[[Any], tuple[Tensor, ...]],
        steps: range,
        *,
        ahead: bool = False,
    ) -> None:
        self.waited = 0.0
        self._make, self._receive, self._steps = make, receive, steps
        self._ahead = ThreadPoolExecutor(1, "batches") if ahead else None

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        future: Future[Any] | None = None
        for step in self._steps:
            began = time.perf_counter()
            if self._ahead is None:
                made = self._make(step)
            else:
                made = (future or self._ahead.submit(self._make, step)).result()
                future = self._ahead.submit(self._make, step + 1) if step + 1 in self._steps else None
            self.waited = time.perf_counter() - began
            yield self._receive(made)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ahead is not None:
            self._ahead.shutdown(wait=True, cancel_futures=True)


def prepare(
    data: DataConfig,
    *,
    context_length: int,
    batch_size: int,
    seed: int,
    stored_tokenizer: Callable[[], Tokenizer | None] = lambda: None,
) -> TrainingData:
    """Open or make the shards that ``data`` names, find the tokenizer, and set apart what is held out.

    ``stored_tokenizer`` gives the tokenizer of a run or of weights to begin with, for text whose tokenizer is
    not named. Raises DataError when there is too little text, or when tokenizer and shards do not fit.
    """
    from gptbpe import ShardReader

    if (data.shards is None) == (data.train_data is None):
        raise DataError("name what to train on: --shards FOLDER or --train-data FILE, one of the two")
    if data.shards is not None:
        tokenizer = None if data.tokenizer is None else named_tokenizer(data.tokenizer)
        sources = open_shards(data.shards)
        reader = sources[0].reader
        stored = reader.tokenizer()
        if tokenizer is not None and tokenizer.fingerprint != reader.tokenizer_fingerprint:
            raise DataError(
                f"the shards in {sources[0].name} were made with another tokenizer than {data.tokenizer}: "
                f"fingerprint {reader.tokenizer_fingerprint[:12]}, given {tokenizer.fingerprint[:12]}"
            )
        tokenizer = tokenizer or stored
        origin = ", ".join(source.name for source in sources)
    else:
        assert data.train_data is not None
        paths = existing(data.train_data)
        if data.eval_data is not None:
            check_evaluation(data.eval_data)
        tokenizer = text_tokenizer(data.tokenizer, paths, data.vocab, stored_tokenizer)
        reader = ShardReader(shard_text(paths, tokenizer))
        origin = ", ".join(map(str, paths))
        sources = [Source(reader, origin)]
    held_out = None if data.eval_data is None else evaluation_reader(data.eval_data, tokenizer, reader)
    return training_data(
        data,
        sources,
        tokenizer,
        origin,
        held_out,
        context_length=context_length,
        batch_size=batch_size,
        seed=seed,
    )


def training_data(
    data: DataConfig,
    sources: Sequence[Source],
    tokenizer: Tokenizer | None,
    origin: str,
    held_out: ShardReader | None = None,
    *,
    context_length: int,
    batch_size: int,
    seed: int,
) -> TrainingData:
    """Training and evaluation windows over open shards; without ``held_out`` the end of each source is set
    apart.
    """
    length = context_length
    if data.documents == "pack" and data.stride is not None:
        raise DataError(
            "--stride is for windows, and --documents pack makes rows of documents: leave one out"
        )
    reserved = [0] * len(sources) if held_out else held_out_of(sources, length)
    sampler, windows, shares = plan(
        sources,
        reserved,
        length,
        seed=seed,
        order="global" if data.shuffle else "sequential",
        stride=data.stride or length,
        pack=data.documents == "pack",
    )
    masked = data.documents != "stream"
    if masked:
        sampler.masked_batch(0, 1)  # which raises where the shards do not say where documents end
    if held_out is not None:
        evaluated, said = shard_parts(held_out), "from --eval-data"
    else:
        evaluated = held_out_ends(sources, reserved)
        said = "the end of the text" if len(sources) == 1 else "the end of each folder"
    reader = sources[0].reader
    vocab_size = max(*(s.reader.vocab_size for s in sources), tokenizer.vocab_size if tokenizer else 0)
    tokens = sum(source.reader.total_tokens for source in sources) - sum(reserved)
    evaluated_tokens = sum(map(len, evaluated))
    description = [
        f"data      {origin}: {human(tokens)} tokens to train on, {windows:,} "
        + {"stream": "windows", "mask": "windows, documents apart", "pack": "rows of documents"}[
            data.documents
        ]
        + ("" if data.shuffle else ", in order"),
        *shares,
        f"held out  {human(evaluated_tokens)} tokens, {said}"
        if evaluated_tokens > 1
        else "held out  nothing: too little text",
    ]
    if data.num_workers:
        description.append(
            "workers   none needed: threads of this process read the shards (--num-workers is accepted)"
        )
    return TrainingData(
        sampler=sampler,
        vocab_size=vocab_size,
        windows=windows,
        batch_size=batch_size,
        tokenizer=tokenizer,
        token_bytes=None if tokenizer is None else token_bytes(tokenizer, vocab_size),
        evaluation=(lambda rows: evaluation_windows(evaluated, length, length, rows))
        if evaluated_tokens > 1
        else None,
        prompt=opening(
            evaluated[0] if evaluated else reader.tokens(0, 0, min(256, reader.shards[0].tokens)), tokenizer
        )[: min(8, length)],
        identity={"tokenizer": reader.tokenizer_fingerprint, "data": sampler.fingerprint},
        origin=origin,
        description=description,
        masked=masked,
    )


def opening(ids: Any, tokenizer: Tokenizer | None) -> list[int]:
    """The first ids of a line, for a sample to begin with."""
    first = [int(i) for i in ids[:256]]
    if tokenizer is not None:
        breaks = [at for at, i in enumerate(first) if tokenizer.token_bytes(i).endswith(b"\n")]
        if breaks and breaks[0] + 1 < len(first):
            return first[breaks[0] + 1 :]
    return first


def held_out_parts(data: DataConfig, context_length: int, tokenizer: Tokenizer) -> list[Any]:
    """The ids that a run over ``data`` sets apart to evaluate on. Raises DataError where there are none."""
    from gptbpe import ShardReader

    if data.eval_data is not None:
        reader = None if data.shards is None else open_shards(data.shards)[0].reader
        return shard_parts(evaluation_reader(data.eval_data, tokenizer, reader))
    if data.shards is not None:
        sources = open_shards(data.shards)
    else:
        sources = [Source(ShardReader(shard_text(existing(data.train_data or ()), tokenizer)), "text")]
    reserved = held_out_of(sources, context_length)
    if not any(reserved):
        raise DataError("the run held nothing out, its text was too small: give --data")
    return list(held_out_ends(sources, reserved))
