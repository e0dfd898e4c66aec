"""``gptbpe import`` and ``gptbpe export``: between the tokenizer files of several programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gptbpe import recognise
from gptbpe.cli import console
from gptbpe.tokenizer import Tokenizer


def export(
    tokenizer: console.TokenizerName = None,
    format: Annotated[Literal["json", "tiktoken", "gpt2"], Parameter(name=["--format", "-f"])] = "json",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Write a tokenizer in another program's format.

    `json` is Hugging Face's `tokenizer.json`, which is also our own format. `tiktoken` is a file of ranks
    without a pattern or special tokens; these are printed, so that you can pass them to tiktoken. `gpt2` is
    a folder with `vocab.json` and `merges.txt`.

    Parameters
    ----------
    tokenizer
        A tokenizer file, or the name of a packaged tokenizer such as gpt2. [default: tokenizer.json]
    format
        The format to write.
    output
        The file to write (for gpt2, the folder); `-` is standard output.
    """
    if output is None:
        raise console.Failure("say where to write: -o FILE, or -o - for standard output")
    if format == "json" and output.suffix == recognise.SUFFIX:
        raise console.Failure(f"{output} is named as a file of ranks: add --format tiktoken")
    if format != "gpt2":
        console.check_output(output, console.tokenizer_file(tokenizer))
    tok = console.tokenizer(tokenizer)
    if format == "json":
        console.save(output, tok.to_bytes())
    elif format == "tiktoken":
        console.save(output, tok._core.write_tiktoken())
        console.say(f"pattern: {tok.pattern}")
        console.say(f"special tokens: {tok.special_tokens}")
    else:
        if output == console.STANDARD:
            raise console.Failure("gpt2 is two files; give -o a folder")
        tok.save_gpt2(output)
    if output != console.STANDARD:
        console.say(f"{tok.vocab_size:,} tokens -> {output}")


def import_(
    *inputs: Path,
    pattern: str | None = None,
    special_token: Annotated[list[str] | None, Parameter(negative="")] = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = console.DEFAULT_TOKENIZER,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Read another program's tokenizer and write it as `tokenizer.json`.

    The type of input is recognised by its contents: one `tokenizer.json`, one file of tiktoken ranks, or
    the two files `vocab.json` and `merges.txt`. The name of a packaged tokenizer (gpt2, cl100k_base, …)
    works too.

    Parameters
    ----------
    inputs
        The file, or the two files.
    pattern
        The split pattern; required for ranks. [default for vocab.json and merges.txt: gpt2]
    special_token
        For ranks: a special token and its id, as in `"<|endoftext|>=100257"`; may be given several times.
    output
        The tokenizer file to write; `-` is standard output.
    force
        Replace an existing file.
    """
    if len(inputs) not in (1, 2):
        raise console.Failure(f"expected one file, or vocab.json and merges.txt; found {len(inputs)} inputs")
    console.check_output(output, *inputs)
    specials = special_token or []
    if len(inputs) == 2:
        vocab, merges = sorted(
            inputs, key=lambda path: not console.read_input(path).lstrip().startswith(b"{")
        )
        if specials:
            raise console.Failure("vocab.json has the special tokens itself; leave --special-token out")
        tok = Tokenizer.from_gpt2(vocab, merges, pattern=pattern or "gpt2")
    else:
        tok = _one(inputs[0], pattern, specials)
    if output.is_file() and not force:
        raise console.Failure(f"{output} exists already; give -o another name, or --force to replace it")
    console.save(output, tok.to_bytes())
    console.say(f"{tok.vocab_size:,} tokens -> {console.shown(output)}")


def _one(path: Path, pattern: str | None, specials: list[str]) -> Tokenizer:
    from gptbpe import packaged

    if path.name in packaged.names() and not path.exists():
        return Tokenizer.get(path.name)
    if path.parts and path.parts[0] in ("http:", "https:"):
        raise console.Failure(
            f"{path.parts[0]}//{'/'.join(path.parts[1:])} is not fetched: download it first"
        )
    data = console.read_input(path)
    if data.lstrip()[:1] == b"{":
        if pattern is not None or specials:
            raise console.Failure(f"{path} has its own pattern and special tokens; leave the options out")
        return Tokenizer.from_bytes(data, console.shown(path))
    if pattern is None:
        raise console.Failure(
            f"{path} looks like tiktoken ranks, which have no pattern; pass --pattern, e.g. cl100k"
            if recognise.is_ranks(data)
            else f"{path} is neither a tokenizer.json, nor tiktoken ranks, nor vocab.json with merges.txt"
        )
    ids: dict[str, int] = {}
    for special in specials:
        name, equals, number = special.rpartition("=")
        if not equals or not number.isdecimal():
            raise console.Failure(
                f'--special-token {special}: expected NAME=ID, for example "<|endoftext|>=100257"'
            )
        ids[name] = int(number)
    return Tokenizer.from_tiktoken(os.fspath(path), pattern=pattern, special_tokens=ids)
