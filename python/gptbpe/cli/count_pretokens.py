"""``gptbpe count-pretokens``: text in, a file of counts out, from which ``gptbpe train --counts`` learns."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gptbpe import training
from gptbpe.cli import console, usage
from gptbpe.cli.train import piece
from gptbpe.cluster.dividing import Part, divide
from gptbpe.io import FileRange
from gptbpe.io.remote import Url
from gptbpe.sources import STANDARD_PATH
from gptbpe.types import END_OF_TEXT


def count_pretokens(
    *inputs: Path,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    pattern: str = "cl100k",
    special_token: Annotated[list[str] | None, Parameter(negative="")] = None,
    separator: str | None = None,
    weight: Annotated[list[int] | None, Parameter(negative="", converter=usage.whole)] = None,
    threads: console.Threads = None,
    max_memory: str | None = None,
    work_item: str | None = None,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False,
    json: console.Json = False,
) -> None:
    """Count the pre-tokens of text files, to train a vocabulary elsewhere.

    Several machines can each count a share of the text. `gptbpe train --counts a.pcnt b.pcnt` then learns
    what training on all of the text would learn. If the output file exists, it is replaced, but only once
    the new file is complete.

    Parameters
    ----------
    inputs
        Text files: plain, .jsonl or .parquet (field `text`), .gz and .zst; `-` reads standard input.
    output
        The file of counts to write, usually named *.pcnt.
    pattern
        How text is split into pre-tokens: gpt2, cl100k, o200k, llama3, qwen2, nanochat, deepseek, or a
        regex. All files that are trained on together need the same one.
    special_token
        A special token; it also ends documents in the text. May be given several times. All files that are
        trained on together need the same ones. [default: <|endoftext|>]
    separator
        Text that ends a document in plain text, in addition to the special tokens.
    weight
        How many times each pre-token of an input counts, an integer of at least 1. Give it once per input,
        in their order.
    threads
        Number of threads. [default: one per core]
    max_memory
        Roughly how much memory counting may use, such as 512M or 2G; what does not fit goes to temporary
        files.
    work_item
        Count one of several parts of similar size: 3/8 is the fourth of eight, numbered from 0. Training on
        all parts gives the same result as counting everything at once.
    quiet
        Print only errors.
    json
        Print a summary as JSON on standard output.
    """
    if not inputs:
        raise console.Failure(
            "nothing to count; name a text file, for example: gptbpe count-pretokens input.txt -o words.pcnt"
        )
    if output is None:
        raise console.Failure("say where the counts go, for example: -o words.pcnt")
    if output == console.STANDARD:
        raise console.Failure("a file of counts cannot go to standard output; give -o a file")
    console.check_output(output, *inputs)
    specials = [END_OF_TEXT] if special_token is None else special_token
    pieces: list[training.Piece] = [piece(path) for path in inputs]
    if work_item is not None:
        pieces, weight = _part(pieces, weight, work_item, separator, specials)
    began = time.monotonic()
    with console.progress(quiet=quiet or json) as show:
        counts = training.count_pretokens(
            pieces,
            output,
            pattern=pattern,
            special_tokens=specials,
            separator=separator or None,
            weights=weight,
            threads=threads,
            max_memory=max_memory,
            progress=show,
        )
    seconds = time.monotonic() - began
    if json:
        summary: dict[str, Any] = {
            "output": str(output),
            "pretokens": counts.pretokens,
            "words": counts.words,
            "documents": counts.documents,
            "text_bytes": counts.text_bytes,
            "pattern": counts.pattern,
            "pattern_fingerprint": counts.pattern_fingerprint,
            "special_tokens": list(counts.special_tokens),
            "file_bytes": counts.file_bytes,
        }
        console.write_json({**summary, "seconds": round(seconds, 3)})
    elif not quiet:
        console.say(
            f"{counts.pretokens:,} pre-tokens, {counts.words:,} different, from "
            f"{console.size(counts.text_bytes)} in "
            f"{seconds:.1f} s -> {output} ({console.size(counts.file_bytes)})"
        )
        console.say(f"next: gptbpe train --counts {output} --vocab 512")


def _part(
    pieces: list[training.Piece],
    weights: list[int] | None,
    work_item: str,
    separator: str | None,
    special_tokens: list[str],
) -> tuple[list[training.Piece], list[int] | None]:
    """The part of the inputs that a work item counts, and the weights of its pieces."""
    number, slash, count = work_item.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise console.Failure(
            f"--work-item {work_item}: expected the number of a part, from 0, and how many there are: 7/8"
        )
    paths = [path for path in pieces if isinstance(path, Path | Url)]
    if STANDARD_PATH in paths:
        raise console.Failure("standard input cannot be divided; name files")
    items = divide(paths, int(count), separator=separator, marks=special_tokens)
    part = items[int(number)]
    if weights is None:
        return pieces_of(part), None
    if len(weights) != len(paths):
        raise console.Failure(f"found {len(weights)} weights for {len(paths)} inputs; give one for each")
    if len(set(paths)) < len(paths):
        raise console.Failure("an input is named twice; give its weights as one")
    by_path: dict[Path | str, int] = dict(zip(paths, weights, strict=True))
    named = [each.path if isinstance(each, FileRange) else each for each in part]
    return pieces_of(part), [by_path[name] for name in named]


def pieces_of(parts: list[Part]) -> list[training.Piece]:
    """Say of strings that they are URLs, and no texts."""
    return [Url(part) if isinstance(part, str) else part for part in parts]
