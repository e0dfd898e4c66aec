"""``gptbpe shard``, ``verify`` and ``inspect``: text into token shards, and what a folder of them holds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gptbpe import sources
from gptbpe.cli import console
from gptbpe.errors import ShardError
from gptbpe.shards import DEFAULT_SHARD_TOKENS, ShardReader, shard_files
from gptbpe.types import END_OF_TEXT


def shard(
    *inputs: Path,
    tokenizer: console.TokenizerName = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("data"),
    separator: str = END_OF_TEXT,
    separator_first: Annotated[bool, Parameter(negative="")] = False,
    text_field: str = "text",
    shard_tokens: int = DEFAULT_SHARD_TOKENS,
    threads: console.Threads = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    json: console.Json = False,
) -> int:
    """Tokenize text into a folder of token shards, for training.

    A run that was interrupted goes on where it was, and one that is complete is not done again.

    Parameters
    ----------
    inputs
        Files, folders or patterns: .txt, .jsonl or .parquet, also as .gz and .zst; `-` reads standard input.
    tokenizer
        A tokenizer file, or a packaged name such as gpt2; `tokenizer.json` here by default.
    output
        The folder of the shards.
    separator
        A special token that cuts plain text into documents; its id ends each of them. `""` for none.
    separator_first
        Put the id in front of each document instead, as modded-nanogpt wants it.
    text_field
        The field of JSON objects, or the column of Parquet files, that is the text.
    shard_tokens
        How many tokens go into one shard at most.
    threads
        How many threads encode; one per core by default.
    force
        Replace other shards that are in the folder.
    json
        Print a summary as JSON on standard output.
    """
    if not inputs:
        raise console.Failure("nothing to tokenize; for example: gptbpe shard input.txt -t tokenizer.json")
    tok = console.tokenizer(tokenizer)
    names = [sources.STANDARD_INPUT if path == console.STANDARD else path for path in inputs]
    began = time.monotonic()
    with console.progress(quiet=json) as show:
        reader = shard_files(
            names,
            tok,
            output,
            separator=separator or None,
            separator_at="start" if separator_first else "end",
            text_field=text_field,
            shard_tokens=shard_tokens,
            threads=threads,
            progress=show,
            force=force,
        )
    seconds = time.monotonic() - began
    if json:
        console.write_json({**_summary(reader), "seconds": round(seconds, 3)})
        return 0
    text = f" from {console.size(reader.text_bytes)}" if reader.text_bytes else ""
    console.say(
        f"{reader.total_tokens:,} tokens{text} in {len(reader.shards)} shard(s), {seconds:.1f} s -> {output}"
    )
    console.say(f"next: python -m gptmodel.train --shards {output}")
    return 0


def verify(
    *paths: Path,
    tokenizer: console.TokenizerName = None,
    json: console.Json = False,
) -> int:
    """Check every byte of token shards: sizes, checksums, ids, document ends; exit code 1 where one is wrong.

    Parameters
    ----------
    paths
        Folders of shards, or single `.bin` files; `data` by default.
    tokenizer
        Check as well that this tokenizer made the ids.
    json
        Print one JSON object per path on standard output.
    """
    expected = None if tokenizer is None else console.tokenizer(tokenizer)
    failed = False
    for path in paths or (Path("data"),):
        began = time.monotonic()
        try:
            reader = ShardReader(path)
            if expected is not None:
                reader.expect_tokenizer(expected)
            for number in range(len(reader.shards)):
                reader.check(number)
            reader.tokenizer()
        except ShardError as error:
            failed = True
            if json:
                console.write_json({"path": str(path), "ok": False, "error": console.one_line(error)})
            else:
                console.say(f"error: {console.one_line(error)}")
            continue
        seconds = time.monotonic() - began
        if json:
            console.write_json({"path": str(path), "ok": True, **_summary(reader)})
        else:
            held = f"{reader.total_tokens:,} tokens in {len(reader.shards)} shard(s)"
            console.write(f"{path}: ok, {held}, {seconds:.1f} s\n")
    return 1 if failed else 0


def inspect(path: Path = Path("data"), *, show: int = 0, json: console.Json = False) -> int:
    """Say what is in a folder of shards, or in a tokenizer file.

    Parameters
    ----------
    path
        A folder of shards, a `.bin` file, a tokenizer file or a packaged name.
    show
        Print the text of the first N documents too.
    json
        Print it as JSON on standard output.
    """
    if path.is_dir() or path.suffix == ".bin":
        reader = ShardReader(path)
        _print(_summary(reader), json)
        if show:
            _show_documents(reader, show)
        return 0
    tok = console.tokenizer(str(path))
    _print(
        {
            "tokenizer": str(path),
            "vocab_size": tok.vocab_size,
            "merges": len(tok.merges),
            "special_tokens": tok.special_tokens,
            "pattern": tok.pattern,
            "fingerprint": tok.fingerprint,
        },
        json,
    )
    return 0


def _summary(reader: ShardReader) -> dict[str, Any]:
    return {
        "shards": len(reader.shards),
        "tokens": reader.total_tokens,
        "text_bytes": reader.text_bytes,
        "vocab_size": reader.vocab_size,
        "dtype": str(reader.dtype),
        "tokenizer_fingerprint": reader.tokenizer_fingerprint,
        "options": reader.manifest.get("options", {}),
    }


def _print(summary: dict[str, Any], json: bool) -> None:
    if json:
        console.write_json(summary)
        return
    width = max(map(len, summary))
    for name, value in summary.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item!r}" for key, item in value.items()) or "none"
        elif isinstance(value, int):
            value = f"{value:,}"
        console.write(f"{name.replace('_', ' '):<{width}}  {value}\n")


def _show_documents(reader: ShardReader, wanted: int) -> None:
    tok = reader.tokenizer()
    if tok is None:
        raise console.Failure("there is no tokenizer beside these shards, so their text cannot be shown")
    for number in range(len(reader.shards)):
        start = 0
        for stop in map(int, reader.documents(number)):
            if wanted == 0:
                return
            console.write(tok.decode(reader.tokens(number, start, stop)) + "\n")
            start, wanted = stop, wanted - 1
