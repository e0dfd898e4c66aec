"""``gptmodel generate``: let a model write on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gptmodel.cli.app import (
    CheckpointOption,
    EvaluationPrecision,
    chosen,
    placed,
    say,
    say_taken,
)
from gptmodel.errors import DataError
from gptmodel.threads import wait_politely


def generate(
    checkpoint: CheckpointOption = None,
    *,
    prompt: str | None = None,
    prompt_file: Path | None = None,
    max_new_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: Annotated[list[str] | None, Parameter(negative="")] = None,
    samples: int = 1,
    tokenizer: str | None = None,
    device: str = "auto",
    precision: EvaluationPrecision = "auto",
) -> None:
    """Let a trained model write on, and print the text as it comes, the prompt first.

    Parameters
    ----------
    checkpoint
        A run or checkpoint folder, RUN/best, or a Hugging Face folder; left out: the newest run in runs/.
    prompt
        What to go on from; without it (and without --prompt-file) standard input is read if it is piped.
    prompt_file
        Read the prompt from a file.
    max_new_tokens
        The most tokens to write.
    temperature
        Below 1 safer, above 1 wilder; 0 takes the likeliest token each time.
    top_k
        Draw among the k likeliest tokens only.
    top_p
        Draw among the fewest tokens that hold this share of the probability.
    seed
        The same seed writes the same text.
    stop
        Stop before this text; may be given several times.
    samples
        How many texts to write.
    tokenizer
        A tokenizer file or packaged name, for models that carry none.
    device
        auto, cpu, cuda, cuda:1, mps.
    precision
        Numbers of the activations: fp32, bf16 or fp16; auto is what training would take on the device.
    """
    if samples < 1:
        raise DataError(f"--samples {samples}: should be 1 or more")
    folder = chosen(checkpoint)
    text = _prompt(prompt, prompt_file)
    wait_politely()
    from gptmodel.data import named_tokenizer
    from gptmodel.load import assemble, load

    found = load(folder)
    say_taken(found.path, checkpoint)
    model = placed(assemble(found.model_config, found.state_dict), device, precision)
    tok = found.tokenizer if tokenizer is None else named_tokenizer(tokenizer)
    if tok is None:
        raise DataError(f"{folder} carries no tokenizer: give --tokenizer")
    end = tok.special_tokens.get("<|endoftext|>")
    ids = tok.encode_ordinary(text) or ([end] if end is not None else [])
    if not ids:
        raise DataError('there is no prompt and no <|endoftext|> token to begin with: give --prompt "…"')
    for number in range(samples):
        if samples > 1:
            say(f"--- sample {number + 1} of {samples} ---")
        new = model.stream(
            ids,
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=end,
            seed=None if seed is None else seed + number,
        )
        sys.stdout.write(text)
        for piece in until(_decoded(tok, new), stop or []):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")


def _prompt(prompt: str | None, prompt_file: Path | None) -> str:
    if prompt is not None and prompt_file is not None:
        raise DataError("give --prompt or --prompt-file, not both")
    if prompt is not None:
        return prompt
    if prompt_file is not None and str(prompt_file) != "-":
        return prompt_file.read_text(encoding="utf-8", errors="replace")
    if prompt_file is not None or (sys.stdin is not None and not sys.stdin.isatty()):
        return sys.stdin.read()
    return ""


def _decoded(tokenizer: Any, ids: Iterable[int]) -> Iterator[str]:
    """Text as soon as it is whole characters."""
    from gptbpe.errors import UnknownTokenError

    stream = tokenizer.decode_stream()
    for token in ids:
        try:
            yield stream.push(token)
        except UnknownTokenError:  # the model has more ids than its tokenizer
            yield "�"
    yield stream.finish()


def until(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """``pieces`` up to the first of ``stops``; what may be the beginning of one is held back until it is
    known.

    >>> "".join(until(["ab", "c", "d"], ["cd"]))
    'ab'
    """
    stops = [stop for stop in stops if stop]
    held = ""
    for piece in pieces:
        held += piece
        found = [place for stop in stops if (place := held.find(stop)) >= 0]
        if found:
            yield held[: min(found)]
            return
        keep = max(
            (n for stop in stops for n in range(1, min(len(stop), len(held) + 1)) if held.endswith(stop[:n])),
            default=0,
        )
        yield held[: len(held) - keep]
        held = held[len(held) - keep :]
    yield held
