"""``gptmodel generate``: continue a prompt."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gptbpe.cli import usage
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
    max_new_tokens: usage.Whole = 200,
    temperature: float = 0.8,
    top_k: usage.MaybeWhole = None,
    top_p: float | None = None,
    seed: usage.MaybeWhole = None,
    stop: Annotated[list[str] | None, Parameter(negative="")] = None,
    samples: usage.Whole = 1,
    tokenizer: str | None = None,
    device: str = "auto",
    precision: EvaluationPrecision = "auto",
) -> None:
    """Continue a prompt with a trained model, and print the text as it is written.

    Parameters
    ----------
    checkpoint
        A run or checkpoint folder, RUN/best, or a Hugging Face folder. [default: the newest run in runs/]
    prompt
        The beginning of the text, which is printed too. Without it and --prompt-file, the prompt is read
        from a pipe, if there is one.
    prompt_file
        Read the prompt from a file.
    max_new_tokens
        The largest number of tokens to write.
    temperature
        Lower is more predictable, higher more varied; 0 always takes the most likely token.
    top_k
        Choose only among the k most likely tokens.
    top_p
        Choose only among the most likely tokens that together have this probability.
    seed
        With the same seed, the same text is written.
    stop
        Stop before this text; may be given several times.
    samples
        Number of texts to write.
    tokenizer
        A tokenizer file or the name of a packaged tokenizer, for a model without one.
    device
        Where to compute: auto, cpu, cuda, cuda:1, mps.
    precision
        Number format of the activations; auto is what training would use on the device.
    """
    if samples < 1:
        raise DataError(f"--samples {samples}: should be 1 or more")
    folder = chosen(checkpoint)
    wait_politely()
    from gptmodel.data import named_tokenizer
    from gptmodel.load import assemble, load

    found = load(folder)
    text = _prompt(prompt, prompt_file)
    say_taken(found.path, checkpoint)
    model = placed(assemble(found.model_config, found.state_dict), device, precision)
    tok = found.tokenizer if tokenizer is None else named_tokenizer(tokenizer)
    if tokenizer is not None and found.tokenizer is not None and tok != found.tokenizer:
        say(f"warning: the model was trained with another tokenizer than {tokenizer}: expect nonsense")
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
