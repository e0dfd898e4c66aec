"""``gptbpe encode``, ``decode`` and ``count``."""

from __future__ import annotations

import json as jsonlib
import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptbpe.cli import console

TextOption = Annotated[str | None, Parameter(name=["--text"], allow_leading_hyphen=True)]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Special = Annotated[bool, Parameter(name=["--allow-special"], negative="")]


def encode(
    *inputs: Path,
    tokenizer: console.TokenizerName = None,
    text: TextOption = None,
    allow_special: Special = False,
    output: Output = console.STANDARD,
    json: console.Json = False,
) -> None:
    """Turn text into ids: one line of decimal ids per input.

    Parameters
    ----------
    inputs
        Files to encode, each whole; `-` or nothing reads standard input.
    tokenizer
        A tokenizer file, or a packaged name such as gpt2; `tokenizer.json` here by default.
    text
        Text to encode, before the files.
    allow_special
        Special tokens in the text become their ids; otherwise they are ordinary text.
    output
        Where the ids go; standard output by default.
    json
        Write one JSON object per input instead: its name and ids.
    """
    tok = console.tokenizer(tokenizer)
    lines = []
    for name, data in console.texts(inputs, text):
        ids = tok.encode(data, allowed_special="all" if allow_special else (), disallowed_special=())
        if json:
            lines.append(jsonlib.dumps({"input": name, "tokens": len(ids), "ids": ids}, ensure_ascii=False))
        else:
            lines.append(" ".join(map(str, ids)))
    console.save(output, "".join(line + "\n" for line in lines).encode())


def decode(
    *inputs: Path,
    tokenizer: console.TokenizerName = None,
    ids: Annotated[str | None, Parameter(name=["--ids"], allow_leading_hyphen=True)] = None,
    output: Output = console.STANDARD,
) -> None:
    """Turn ids back into exactly the bytes that were encoded.

    Parameters
    ----------
    inputs
        Files of decimal ids, separated by spaces, commas or line breaks; `-` or nothing reads standard input.
    tokenizer
        A tokenizer file, or a packaged name such as gpt2; `tokenizer.json` here by default.
    ids
        Ids to decode, before the files.
    output
        Where the text goes; standard output by default.
    """
    tok = console.tokenizer(tokenizer)
    parts = [tok.decode_bytes(_numbers(name, data)) for name, data in console.texts(inputs, ids, "--ids")]
    console.save(output, b"".join(parts))


def _numbers(name: str, data: bytes) -> list[int]:
    words = re.split(rb"[\s,\[\]]+", data)
    numbers = []
    for word in words:
        if not word:
            continue
        if not re.fullmatch(rb"-?\d{1,18}", word):
            shown = word[:20].decode("utf-8", "replace")
            raise console.Failure(
                f"{name}: {shown!r} is not an id; expected decimal numbers, as gptbpe encode writes"
            )
        numbers.append(int(word))
    return numbers


def count(
    *inputs: Path,
    tokenizer: console.TokenizerName = None,
    text: TextOption = None,
    allow_special: Special = False,
    json: console.Json = False,
) -> None:
    """Count tokens: one line per input, the number and the name, and a total for several.

    Parameters
    ----------
    inputs
        Files to count; `-` or nothing reads standard input.
    tokenizer
        A tokenizer file, or a packaged name such as gpt2; `tokenizer.json` here by default.
    text
        Text to count, before the files.
    allow_special
        Special tokens in the text count as one token each; otherwise they are ordinary text.
    json
        Write one JSON object per input instead: tokens, bytes and bytes per token.
    """
    tok = console.tokenizer(tokenizer)
    tokens_in_all = inputs_in_all = 0
    for name, data in console.texts(inputs, text):
        tokens = tok.count(data, allowed_special="all" if allow_special else (), disallowed_special=())
        tokens_in_all += tokens
        inputs_in_all += 1
        if json:
            ratio = round(len(data) / tokens, 4) if tokens else None
            console.write_json(
                {"input": name, "tokens": tokens, "bytes": len(data), "bytes_per_token": ratio}
            )
        else:
            console.write(f"{tokens}\t{name}\n")
    if inputs_in_all > 1 and not json:
        console.write(f"{tokens_in_all}\ttotal\n")
