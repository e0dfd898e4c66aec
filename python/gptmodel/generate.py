"""From a prompt to new ids: prefill once, then one position at a time over a key-value cache.

The model sees the last `context_length` ids and nothing before them. While everything fits, each step feeds
one id and the cache holds the rest. Once the context is full it slides, every position then means another
place, and the window is fed afresh: slower, but exactly what a model without a cache would say. A rolling
cache was not taken because its keys would still remember ids that have left the window, so cached and
uncached text would differ.

Sampling draws one uniform number per new id, from a CPU generator seeded with `seed` plus the row: a sample
is the same on every device (up to rounding of the logits), alone or among others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gptmodel.model import GPT

Stop = int | Sequence[int] | Sequence[Sequence[int]] | None


def generate(
    model: GPT,
    ids: Sequence[int] | Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = None,
    seed: int | None = None,
    samples: int | None = None,
) -> Any:
    """The prompt followed by at most `max_new_tokens` new ids, in the form the prompt came in.

    A list (or array) gives a list, a list of lists of one length gives a list of lists, a tensor (T,) or
    (B, T) gives a tensor. With `samples` the result is a list of so many lists, or a tensor (samples, T).
    `temperature` 0 takes the likeliest id each time (greedy). `top_k` keeps the k likeliest ids, `top_p`
    the fewest that hold this share of the probability. `stop` is an id, or a list of ids and of sequences
    of ids; text ends before the first of them. In a tensor, rows that stopped early are filled up with the
    stop's first id.

    Raises:
        ValueError: an empty prompt, an id outside the vocabulary, or a sampling option outside its range.

    Example:
        >>> from gptmodel.model import GPT, ModelConfig
        >>> model = GPT(ModelConfig(vocab_size=32, context_length=8, width=16, layers=1, heads=2))
        >>> ids = generate(model, [1, 2, 3], 2, temperature=0)
        >>> ids[:3], len(ids)
        ([1, 2, 3], 5)
    """
    _check(max_new_tokens, temperature, top_k, top_p)
    prompt_BT = _rows(model, ids)
    if samples is not None:
        if len(prompt_BT) != 1 or samples < 1:
            raise ValueError(
                f"samples={samples} takes one prompt and at least one sample, not {len(prompt_BT)} rows"
            )
        prompt_BT = prompt_BT.expand(samples, -1)
    stops = _stops(stop)
    new: list[list[int]] = [[] for _ in prompt_BT]
    fill: list[int | None] = [None] * len(new)
    for step_B in _steps(model, prompt_BT, max_new_tokens, temperature, top_k, top_p, seed):
        for row, chosen in enumerate(step_B.tolist()):
            if fill[row] is None:
                new[row].append(chosen)
                if ending := _ending(new[row], stops):
                    del new[row][-len(ending) :]
                    fill[row] = ending[0]
        if None not in fill:
            break
    if not isinstance(ids, Tensor):
        texts = [prompt_BT[row].tolist() + added for row, added in enumerate(new)]
        return texts if samples is not None or torch.as_tensor(ids).ndim == 2 else texts[0]
    longest = max(map(len, new))
    filled = [added + [fill[row] or 0] * (longest - len(added)) for row, added in enumerate(new)]
    new_BT = torch.tensor(filled, dtype=ids.dtype, device=ids.device).view(len(new), longest)
    result_BT = torch.cat((prompt_BT.to(new_BT), new_BT), 1)
    return result_BT[0] if ids.ndim == 1 and samples is None else result_BT


def stream(
    model: GPT,
    ids: Sequence[int] | Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = None,
    seed: int | None = None,
) -> Iterator[int]:
    """The new ids of `generate` one by one, as soon as they are known not to begin a stop sequence.

    Example:
        >>> from gptmodel.model import GPT, ModelConfig
        >>> model = GPT(ModelConfig(vocab_size=32, context_length=8, width=16, layers=1, heads=2))
        >>> ids = list(stream(model, [1, 2, 3], 2, temperature=0))
        >>> [1, 2, 3, *ids] == generate(model, [1, 2, 3], 2, temperature=0)
        True
    """
    _check(max_new_tokens, temperature, top_k, top_p)
    prompt_BT = _rows(model, ids)
    if len(prompt_BT) != 1:
        raise ValueError(f"stream takes one prompt, not {len(prompt_BT)} rows: use generate for a batch")
    stops = _stops(stop)
    steps = _steps(model, prompt_BT, max_new_tokens, temperature, top_k, top_p, seed)
    return _released(steps, stops)


def probabilities(
    logits_BV: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """What `generate` draws from, (B, V): softmax(logits / temperature), cut to `top_k`, then to `top_p`."""
    logits_BV = logits_BV.float() / temperature
    if top_k is not None and top_k < logits_BV.shape[-1]:
        weakest_B1 = logits_BV.topk(top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < weakest_B1, float("-inf"))
    if top_p is not None and top_p < 1:
        sorted_BV, order_BV = logits_BV.sort(descending=True)
        share_BV = sorted_BV.softmax(-1)
        before_BV = share_BV.cumsum(-1) - share_BV  # an id stays when those before it do not reach top_p yet
        cut_BV = torch.zeros_like(before_BV, dtype=torch.bool).scatter(1, order_BV, before_BV >= top_p)
        logits_BV = logits_BV.masked_fill(cut_BV, float("-inf"))
    return logits_BV.softmax(-1)


@torch.no_grad()
def _steps(
    model: GPT,
    prompt_BT: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
) -> Iterator[Tensor]:
    """The ids (B,) of each next position."""
    B, T = prompt_BT.shape
    context = model.config.context_length
    uniform_NB = _uniform(B, max_new_tokens, seed, prompt_BT.device) if temperature else None
    cache = model.key_value_cache(B, min(context, T + max_new_tokens))
    window_BT = fresh_BT = prompt_BT[:, -context:]
    for step in range(max_new_tokens):
        if cache.length + fresh_BT.shape[1] > context:
            cache.clear()
            fresh_BT = window_BT
        logits_BV = _last_logits(model, fresh_BT, cache)
        if uniform_NB is None:
            next_B = logits_BV.argmax(-1)
        else:
            shares_BV = probabilities(logits_BV, temperature=temperature, top_k=top_k, top_p=top_p)
            next_B = _draw(shares_BV, uniform_NB[step])
        yield next_B
        fresh_BT = next_B[:, None]
        window_BT = torch.cat((window_BT, fresh_BT), 1)[:, -context:]


def _last_logits(model: GPT, ids_BT: Tensor, cache: Any) -> Tensor:
    """Logits (B, V) after the last id, without dropout whatever mode the model is in."""
    if not model.training:
        return model.logits(model.hidden(ids_BT, cache=cache)[:, -1:])[:, 0]
    model.eval()
    try:
        return _last_logits(model, ids_BT, cache)
    finally:
        model.train()


def _uniform(rows: int, steps: int, seed: int | None, device: torch.device) -> Tensor:
    """One number in [0, 1) for each step and row, float64 (steps, rows)."""
    if seed is None:
        seed = torch.Generator().seed() >> 1  # from the operating system, never the global generator's state
    generators = [torch.Generator().manual_seed((seed + row) % 2**63) for row in range(rows)]
    numbers = torch.stack([torch.rand(steps, generator=g, dtype=torch.float64) for g in generators], 1)
    return (
        numbers if device.type == "mps" else numbers.to(device)
    )  # MPS has no float64: drawn on the CPU there


def _draw(shares_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The first id whose cumulative share exceeds the uniform number; never one without a share."""
    device = shares_BV.device
    shares_BV = shares_BV.to(uniform_B.device).double()
    cumulative_BV = shares_BV.cumsum(-1)
    target_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    return torch.searchsorted(cumulative_BV, target_B1, right=True)[:, 0].to(device)


def _check(max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must not be negative, and it is {max_new_tokens}")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 (greedy) or more, and it is {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must keep at least 1 id, and it is {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, and it is {top_p}")


def _rows(model: GPT, ids: Sequence[int] | Tensor) -> Tensor:
    """The prompt as int64 rows (B, T) on the model's device, checked."""
    device, vocab_size = model.token_embedding.weight.device, model.config.vocab_size
    if isinstance(ids, str | bytes):
        raise ValueError(
            "the prompt must be ids, not text: model.generate(tokenizer.encode(…)); a run's tokenizer is "
            "gptmodel.checkpoint.load_tokenizer(RUN)"
        )
    if ids is None:
        raise ValueError("the prompt must be ids, not None: at least one id, such as that of <|endoftext|>")
    rows_BT = torch.as_tensor(ids)
    if rows_BT.numel() and rows_BT.is_floating_point():
        raise ValueError(f"the prompt must be ids, integers, not {rows_BT.dtype}")
    rows_BT = rows_BT.long().to(device)
    rows_BT = rows_BT[None] if rows_BT.ndim == 1 else rows_BT
    if rows_BT.ndim != 2 or rows_BT.numel() == 0:
        raise ValueError(
            "the prompt must be a list of ids or a tensor (T,) or (B, T), with at least one id: "
            "to write from nothing, give the id of <|endoftext|>"
        )
    wrong = (rows_BT < 0) | (rows_BT >= vocab_size)
    if wrong.any():
        raise ValueError(
            f"the prompt holds the id {rows_BT[wrong][0].item()}, and the model knows 0 to {vocab_size - 1}: "
            "was it encoded by another tokenizer?"
        )
    return rows_BT


def _stops(stop: Stop) -> list[list[int]]:
    """`stop` as a list of sequences."""
    if stop is None:
        return []
    if isinstance(stop, int):
        return [[stop]]
    sequences = [[item] if isinstance(item, int) else list(item) for item in stop]
    if not all(sequences):
        raise ValueError("a stop sequence is empty: it would end every text before its first id")
    return sequences


def _ending(new: list[int], stops: list[list[int]]) -> list[int] | None:
    """The stop sequence that `new` ends with; the longest, if several do."""
    endings = [stop for stop in stops if new[-len(stop) :] == stop]
    return max(endings, key=len) if endings else None


def _released(steps: Iterator[Tensor], stops: list[list[int]]) -> Iterator[int]:
    held: list[int] = []
    for step_B in steps:
        held.append(int(step_B[0]))
        if ending := _ending(held, stops):
            yield from held[: -len(ending)]
            return
        begun = max((n for stop in stops for n in range(1, len(stop)) if held[-n:] == stop[:n]), default=0)
        yield from held[: len(held) - begun]
        held = held[len(held) - begun :]
    yield from held
