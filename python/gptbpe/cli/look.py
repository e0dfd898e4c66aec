"""``gptbpe viz`` and ``gptbpe compare``: seeing what a tokenizer does to text."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gptbpe.cli import console, usage
from gptbpe.cli.encode import Special, TextOption
from gptbpe.tokenizer import Tokenizer
from gptbpe.visible import visible

BACKGROUNDS = (153, 157, 223, 217, 189, 229)
"""Light colours of the 256-colour palette that black text can be read on."""

SHOWN_SPANS = 5


def viz(
    *inputs: Path,
    tokenizer: console.TokenizerName = None,
    text: TextOption = None,
    allow_special: Special = False,
    color: Literal["auto", "always", "never"] = "auto",
    ids: Annotated[bool, Parameter(negative="")] = False,
    max_bytes: usage.Whole = 10_000,
) -> None:
    """Show where the tokens of a text begin and end.

    On a terminal, tokens are coloured; elsewhere, bars separate them. Spaces are shown as ·, line breaks as
    ↵, tabs as →, and bytes that are not a whole character as `<E2>`.

    Parameters
    ----------
    inputs
        Files to show; with `-`, or without any, standard input is read.
    tokenizer
        A tokenizer file, or the name of a packaged tokenizer such as gpt2. [default: tokenizer.json]
    text
        Text to show before the files.
    allow_special
        Show special tokens in the text as one token each.
    color
        Whether to use colours; auto depends on the terminal and on NO_COLOR.
    ids
        Write each token's id after it.
    max_bytes
        Show at most this many bytes of each input.
    """
    tok = console.tokenizer(tokenizer)
    colored = color == "always" or (
        color == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    )
    for name, data in console.texts(inputs, text):
        if len(inputs) > 1:
            console.say(f"{name}:")
        tokens = tok.encode(
            data[:max_bytes], allowed_special="all" if allow_special else (), disallowed_special=()
        )
        pieces = [_visible(tok.token_bytes(id)) + (f"({id})" if ids else "") for id in tokens]
        console.write(_painted(pieces) if colored else _barred(pieces))
        used = min(len(data), max_bytes)
        ratio = f", {used / len(tokens):.2f} bytes per token" if tokens else ""
        more = f" (of {console.size(len(data))}; --max-bytes shows more)" if len(data) > max_bytes else ""
        console.say(f"{len(tokens):,} tokens for {console.size(used)}{more}{ratio}")


def _visible(token: bytes) -> str:
    return visible(token, line_break="↵\n")


def _painted(pieces: list[str]) -> str:
    painted = []
    for index, piece in enumerate(pieces):
        start = f"\x1b[30;48;5;{BACKGROUNDS[index % len(BACKGROUNDS)]}m"
        # The background ends before a line break, or it would fill the rest of the line.
        painted.append(start + piece.replace("\n", f"\x1b[0m\n{start}") + "\x1b[0m")
    return "".join(painted) + "\n"


def _barred(pieces: list[str]) -> str:
    return "|".join(pieces) + "\n"


def compare(
    *inputs: Path,
    tokenizer: Annotated[list[str] | None, Parameter(name=["--tokenizer", "-t"], negative="")] = None,
    text: TextOption = None,
    json: console.Json = False,
) -> None:
    """Encode the same text with several tokenizers and show how they differ.

    Parameters
    ----------
    inputs
        Files to encode; with `-`, or without any, standard input is read.
    tokenizer
        A tokenizer file or the name of a packaged tokenizer. Give it at least twice; the others are
        compared with the first.
    text
        Text to encode before the files.
    json
        Write one JSON object per tokenizer instead.
    """
    names = tokenizer or []
    if len(names) < 2:
        raise console.Failure("give at least two tokenizers, for example: -t gpt2 -t tokenizer.json")
    tokenizers = [console.tokenizer(name) for name in names]
    data = b"".join(part for _, part in console.texts(inputs, text))
    if not data:
        raise console.Failure("there is no text to compare on")
    counts = [tok.count(data, disallowed_special=()) for tok in tokenizers]
    if json:
        for name, tok, tokens in zip(names, tokenizers, counts, strict=True):
            console.write_json(
                {
                    "tokenizer": name,
                    "vocab_size": tok.vocab_size,
                    "tokens": tokens,
                    "bytes": len(data),
                    "bytes_per_token": round(len(data) / tokens, 4),
                    "fingerprint": tok.fingerprint,
                }
            )
        return
    width = max(len(name) for name in names)
    console.write(f"{'tokenizer':<{width}}  vocabulary      tokens  bytes/token  against the first\n")
    for name, tok, tokens in zip(names, tokenizers, counts, strict=True):
        against = 100 * (tokens / counts[0] - 1)
        console.write(
            f"{name:<{width}}  {tok.vocab_size:>10,}  {tokens:>10,}  {len(data) / tokens:>11.3f}"
            f"  {against:>+7.2f} %\n"
        )
    for name, tok in zip(names[1:], tokenizers[1:], strict=True):
        _show_differences(names[0], tokenizers[0], name, tok, data)


def _show_differences(first: str, one: Tokenizer, second: str, other: Tokenizer, data: bytes) -> None:
    sample = data[:100_000]
    cuts, other_cuts = _cuts(one, sample), _cuts(other, sample)
    if cuts == other_cuts:
        console.write(f"{first} and {second} cut this text at the same places\n")
        return
    console.write(f"where {first} and {second} differ first:\n")
    common = sorted(set(cuts) & set(other_cuts))
    shown = 0
    for begin, end in pairwise(common):
        inner = [cut for cut in cuts if begin < cut < end]
        other_inner = [cut for cut in other_cuts if begin < cut < end]
        if inner != other_inner:
            left = _barred(_pieces(sample, begin, inner, end)).strip()
            right = _barred(_pieces(sample, begin, other_inner, end)).strip()
            line = f"  byte {begin}: {left}   {right}".replace("↵\n", "↵")
            console.write(line.rstrip("\n") + "\n")
            shown += 1
            if shown == SHOWN_SPANS:
                return


def _cuts(tok: Tokenizer, data: bytes) -> list[int]:
    ids, starts = tok.encode_with_offsets(data, disallowed_special=())
    return [*starts, len(data)] if ids else [0, len(data)]


def _pieces(data: bytes, begin: int, inner: list[int], end: int) -> list[str]:
    return [_visible(data[left:right]) for left, right in pairwise([begin, *inner, end])]
