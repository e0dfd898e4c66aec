"""``gptbpe encode``, ``decode`` and ``count``."""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptbpe import sources
from gptbpe._core import DocumentBatch, DocumentBuffer
from gptbpe.cli import console
from gptbpe.tokenizer import Tokenizer
from gptbpe.types import Names

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
        Files to encode, each as a whole; .gz and .zst are decompressed. With `-`, or without any, standard
        input is read.
    tokenizer
        A tokenizer file, or the name of a packaged tokenizer such as gpt2. [default: tokenizer.json]
    text
        Text to encode before the files.
    allow_special
        Encode special tokens in the text as their ids; without this, they are ordinary text.
    output
        Where to write the ids. [default: standard output]
    json
        Write one JSON object per input instead, with its name and ids.
    """
    console.check_output(output, *(inputs or [console.STANDARD]), console.tokenizer_file(tokenizer))
    tok = console.tokenizer(tokenizer)
    with console.output(output) as write:
        for name, given in console.inputs_given(inputs, text):
            between = b", " if json else b" "
            if json:
                write(f'{{"input": {jsonlib.dumps(name, ensure_ascii=False)}, "ids": ['.encode())
            tokens = 0
            for batch in _batches(given, tok, allow_special):
                ids = batch.encode(tok._core, _allowed(allow_special), None)
                if ids.tokens:
                    write((between if tokens else b"") + ids.decimal().replace(b" ", between))
                tokens += ids.tokens
            write(f'], "tokens": {tokens}}}\n'.encode() if json else b"\n")


def _allowed(allow_special: bool) -> Names:
    return "all" if allow_special else ()


def _batches(given: Path | bytes, tok: Tokenizer, allow_special: bool) -> Iterator[DocumentBatch]:
    """Read a file or text as one document, in parts where it is long."""
    buffer = DocumentBuffer(None, sources.BATCH_BYTES, tok._core, _allowed(allow_special), 0)
    if isinstance(given, bytes):
        buffer.push_document(given)
        if (batch := buffer.take()) is not None:
            yield batch
        return
    if given == console.STANDARD:
        console.explain_standard_input()
    name = sources.STANDARD_INPUT if given == console.STANDARD else console.name(given)
    yield from sources.batches([name], buffer, as_text=True)


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
        Files of decimal ids, separated by spaces, commas or line breaks; with `-`, or without any, standard
        input is read.
    tokenizer
        A tokenizer file, or the name of a packaged tokenizer such as gpt2. [default: tokenizer.json]
    ids
        Ids to decode before the files.
    output
        Where to write the text. [default: standard output]
    """
    console.check_output(output, *(inputs or [console.STANDARD]), console.tokenizer_file(tokenizer))
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
    """Count tokens: one line per input with the number and the name, then a total.

    Parameters
    ----------
    inputs
        Files to count; .gz and .zst are decompressed. With `-`, or without any, standard input is read.
    tokenizer
        A tokenizer file, or the name of a packaged tokenizer such as gpt2. [default: tokenizer.json]
    text
        Text to count before the files.
    allow_special
        Count special tokens in the text as one token each; without this, they are ordinary text.
    json
        Write one JSON object per input instead: tokens, bytes and bytes per token.
    """
    tok = console.tokenizer(tokenizer)
    tokens_in_all = inputs_in_all = 0
    for name, given in console.inputs_given(inputs, text):
        tokens = size = 0
        for batch in _batches(given, tok, allow_special):
            tokens += batch.count(tok._core, _allowed(allow_special))
            size += batch.text_bytes
        tokens_in_all += tokens
        inputs_in_all += 1
        if json:
            ratio = round(size / tokens, 4) if tokens else None
            console.write_json({"input": name, "tokens": tokens, "bytes": size, "bytes_per_token": ratio})
        else:
            console.write(f"{tokens}\t{name}\n")
    if inputs_in_all > 1 and not json:
        console.write(f"{tokens_in_all}\ttotal\n")
