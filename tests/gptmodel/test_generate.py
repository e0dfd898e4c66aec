"""Cached text is uncached text; sampling is transformers'; a seed is a promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gptmodel.generate import generate, probabilities, stream
from gptmodel.load import GPT
from gptmodel.model import ModelConfig

CONTEXT = 16


def made(seed: int = 0, **changes: Any) -> GPT:
    """A small model that has something to say: random weights, so that its logits are far from equal."""
    config = {"vocab_size": 40, "context_length": CONTEXT, "width": 32, "layers": 2, "heads": 4}
    model = GPT(ModelConfig(**config | changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + (weight.ndim == 1))
    return model.eval()


@torch.no_grad()
def greedy_without_cache(model: GPT, ids: list[int], new: int) -> list[int]:
    """The plain way: the whole window through the model for every id."""
    for _ in range(new):
        logits = model(torch.tensor([ids[-CONTEXT:]]))
        ids = [*ids, int(logits[0, -1].argmax())]
    return ids


@pytest.fixture(scope="module")
def model() -> GPT:
    return made()


@pytest.mark.parametrize("position", ["rotary", "learned", "sinusoidal", "none"])
@pytest.mark.parametrize("prompt", [1, 5, CONTEXT - 1, CONTEXT, CONTEXT + 9])
def test_cached_text_is_uncached_text_also_past_the_context(position: str, prompt: int) -> None:
    model = made(position=position, kv_heads=2)
    ids = torch.randint(0, 40, (prompt,), generator=torch.Generator().manual_seed(prompt)).tolist()
    assert generate(model, ids, 30, temperature=0) == greedy_without_cache(model, ids, 30)


def test_cached_logits_are_uncached_logits(model: GPT) -> None:
    """In pieces of every size: prefill, a chunk after a chunk, one at a time."""
    ids = torch.randint(0, 40, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(ids)
        cache, got, start = model.key_value_cache(2), [], 0
        for size in (5, 1, 4, 1, 1, 4):
            got.append(model(ids[:, start : start + size], cache=cache))
            start += size
    torch.testing.assert_close(torch.cat(got, 1), whole, atol=1e-5, rtol=1e-4)


def test_the_prompt_comes_back_in_its_own_form(model: GPT) -> None:
    as_list = generate(model, [1, 2, 3], 4, temperature=0)
    assert as_list[:3] == [1, 2, 3]
    assert len(as_list) == 7
    row = torch.tensor([1, 2, 3], dtype=torch.int32)
    as_row = generate(model, row, 4, temperature=0)
    assert as_row.tolist() == as_list
    assert as_row.dtype == torch.int32
    assert generate(model, row[None].expand(2, -1), 4, temperature=0).tolist() == [as_list, as_list]
    assert generate(model, [1, 2, 3], 4, temperature=0, samples=2) == [as_list, as_list]
    assert generate(model, row, 4, temperature=0, samples=2).tolist() == [as_list, as_list]
    assert generate(model, [[1, 2, 3]], 4, temperature=0) == [as_list]
    assert generate(model, np.array([1, 2, 3], dtype=np.uint16), 4, temperature=0) == as_list
    assert generate(model, [1, 2, 3], 0) == [1, 2, 3]
    assert generate(model, row, 0).tolist() == [1, 2, 3]
    assert model.generate([1, 2, 3], 4, temperature=0) == as_list
    assert list(model.stream([1, 2, 3], 4, temperature=0)) == as_list[3:]


def test_a_batch_says_what_its_rows_say_alone(model: GPT) -> None:
    prompts = torch.randint(0, 40, (3, 6), generator=torch.Generator().manual_seed(1))
    together = generate(model, prompts, 25, temperature=0)
    for row, prompt in enumerate(prompts):
        assert together[row].tolist() == generate(model, prompt, 25, temperature=0).tolist()


def test_a_seed_is_a_promise(model: GPT) -> None:
    first = generate(model, [1], 20, seed=5)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert generate(model, [1], 20, seed=5) == first
    assert list(stream(model, [1], 20, seed=5)) == first[1:]
    assert generate(model, [1], 20, seed=6) != first
    assert generate(model, [1], 20) != generate(model, [1], 20)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone


def test_sample_i_is_what_seed_plus_i_gives_alone(model: GPT) -> None:
    assert generate(model, [1], 12, seed=5, samples=3) == [
        generate(model, [1], 12, seed=5 + i) for i in range(3)
    ]


def test_dropout_rests_while_generating() -> None:
    model = made(dropout=0.5).train()
    assert generate(model, [1], 20, temperature=0) == greedy_without_cache(model.eval(), [1], 20)
    model.train()
    for _ in stream(model, [1], 2):
        assert model.training


def test_ids_may_go_on_into_training(model: GPT) -> None:
    """What was generated is an ordinary tensor: a loss over it has gradients."""
    ids = generate(model, torch.tensor([[1, 2]]), 5, seed=0)
    model.loss(ids[:, :-1], ids[:, 1:]).backward()


OPTIONS = [
    {"temperature": 0.7},
    {"top_k": 5},
    {"top_p": 0.6},
    {"top_p": 1e-9},
    {"top_k": 1},
    {"top_k": 400},
    {"temperature": 1.7, "top_k": 12, "top_p": 0.8},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_drawn_from_is_what_transformers_draws_from(options: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    warpers = {
        "temperature": transformers.TemperatureLogitsWarper,
        "top_k": transformers.TopKLogitsWarper,
        "top_p": transformers.TopPLogitsWarper,
    }
    logits = 3 * torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    warped = logits
    for name, value in options.items():
        warped = warpers[name](value)(None, warped)
    torch.testing.assert_close(probabilities(logits, **options), warped.softmax(-1), atol=1e-6, rtol=1e-5)


def test_ids_come_as_often_as_their_probability_says(model: GPT) -> None:
    with torch.no_grad():
        shares = probabilities(model(torch.tensor([[1, 2, 3]]))[:, -1], temperature=2.0, top_p=0.9)[0]
    drawn = generate(model, torch.tensor([1, 2, 3]), 1, temperature=2.0, top_p=0.9, seed=0, samples=4000)[
        :, 3
    ]
    counts = torch.bincount(drawn, minlength=40)
    assert (counts[shares == 0] == 0).all()
    expected = 4000 * shares[shares > 0]
    chi_squared = ((counts[shares > 0] - expected) ** 2 / expected).sum().item()
    degrees = len(expected) - 1
    assert chi_squared < degrees + 4 * (2 * degrees) ** 0.5


# Stopping


@pytest.fixture(scope="module")
def story(model: GPT) -> list[int]:
    """Ten new ids of which the fifth appears for the first time."""
    for seed in range(100):
        new: list[int] = generate(model, [1], 10, temperature=3.0, seed=seed)[1:]
        if len(set(new)) == 10:
            return [seed, *new]
    raise AssertionError("no sample of ten different ids")


def stops_of(new: list[int]) -> list[tuple[Any, int]]:
    """Stops, and how many ids come before them."""
    return [
        (new[4], 4),
        ([new[4], new[7]], 4),
        ([[new[4], new[5]]], 4),
        ([[new[4], new[6]]], 10),  # begins, and goes on otherwise
        ([[new[3], new[4], new[5]], new[5]], 3),
        ([[new[8], new[9]]], 8),
        ([[new[9], 0]], 10),  # still open when the ids run out
        (None, 10),
        ([], 10),
    ]


@pytest.mark.parametrize("case", range(9))
def test_text_ends_before_the_stop(model: GPT, story: list[int], case: int) -> None:
    seed, *new = story
    stop, length = stops_of(new)[case]
    options: dict[str, Any] = {"temperature": 3.0, "seed": seed, "stop": stop}
    assert generate(model, [1], 10, **options) == [1, *new[:length]]
    assert list(stream(model, [1], 10, **options)) == new[:length]


def test_streams_hold_back_only_what_may_be_a_stop(model: GPT, story: list[int]) -> None:
    seed, *new = story
    steps = stream(model, [1], 10, temperature=3.0, seed=seed, stop=[[new[2], new[3], 0]])
    assert [next(steps), next(steps)] == new[:2]


def test_rows_that_stop_early_are_filled_up(model: GPT, story: list[int]) -> None:
    seed, *new = story
    options: dict[str, Any] = {"temperature": 3.0, "seed": seed, "samples": 2}
    rows = generate(model, torch.tensor([1]), 10, stop=new[4], **options)
    assert rows[0, :5].tolist() == [1, *new[:4]]
    assert (rows[0, 5:] == new[4]).all()
    lists = generate(model, [1], 10, stop=new[4], **options)
    assert lists[0] == [1, *new[:4]]
    assert rows[1, : len(lists[1])].tolist() == lists[1]


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([], {}, "at least one id"),
        (torch.zeros(1, 2, 3, dtype=torch.long), {}, r"\(T,\) or \(B, T\)"),
        ([1, 40], {}, "holds the id 40, and the model knows 0 to 39: was it encoded by another tokenizer"),
        ([-1], {}, "holds the id -1"),
        ([1.5], {}, "must be ids, integers, not torch.float32"),
        ([1], {"temperature": -0.1}, r"temperature must be 0 \(greedy\) or more"),
        ([1], {"temperature": float("nan")}, "temperature"),
        ([1], {"top_k": 0}, "top_k must keep at least 1 id"),
        ([1], {"top_p": 0.0}, "top_p must be above 0"),
        ([1], {"top_p": 1.1}, "top_p must be above 0 and at most 1"),
        ([1], {"max_new_tokens": -1}, "must not be negative"),
        ([1], {"stop": [[]]}, "stop sequence is empty"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    model: GPT, ids: Any, options: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {"max_new_tokens": 3} | options
    with pytest.raises(ValueError, match=message):
        generate(model, ids, **arguments)
    with pytest.raises(ValueError, match=message):  # when it is called, not when it is first read
        stream(model, ids, **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("position", ["rotary", "learned"])
def test_cuda_says_what_the_cpu_says(position: str) -> None:
    model = made(position=position)
    greedy, drawn = ({"temperature": 0}, {"seed": 3})
    expected = [generate(model, [1, 2], 30, **options) for options in (greedy, drawn)]
    model.cuda()
    assert [generate(model, [1, 2], 30, **options) for options in (greedy, drawn)] == expected
    row: Tensor = generate(model, torch.tensor([1, 2]), 5, temperature=0)
    assert row.device.type == "cpu"
