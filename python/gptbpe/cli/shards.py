"""``gptbpe shard``, ``verify`` and ``inspect``: from text to shards, and what is in them."""

from __future__ import annotations

import dataclasses
import shutil
import time
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from gptbpe import nanogpt, sources
from gptbpe._core import thread_count
from gptbpe.cli import console, usage
from gptbpe.cli import plan as planned
from gptbpe.counts import CountsFile
from gptbpe.errors import GptBpeError
from gptbpe.shards import DEFAULT_SHARD_TOKENS, ReadProgress, ShardReader, shard_files
from gptbpe.tokenizer import Tokenizer
from gptbpe.types import END_OF_TEXT, Progress

SECONDS_BETWEEN_LOOKS = 0.2


def shard(
    *inputs: Path,
    tokenizer: console.TokenizerName = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("data"),
    separator: str = END_OF_TEXT,
    separator_at: Literal["end", "start"] = "end",
    text_field: str = "text",
    shard_tokens: usage.Whole = DEFAULT_SHARD_TOKENS,
    format: Annotated[Literal["gptbpe", "nanogpt"], Parameter(name=["--format", "-f"])] = "gptbpe",
    threads: console.Threads = None,
    plan: usage.MaybeWhole = None,
    own_shards: Annotated[bool, Parameter(negative="")] = False,
    work_item: usage.MaybeWhole = None,
    join: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    json: console.Json = False,
) -> None:
    """Tokenize text files into a folder of token shards.

    Reads plain text, JSON lines and Parquet, also compressed as .gz or .zst, folders of such files, and
    standard input. After an interruption, the same command continues with what is missing; if nothing is
    missing, it does nothing.

    Parameters
    ----------
    inputs
        Files, folders or glob patterns; `-` reads standard input.
    tokenizer
        A tokenizer file, or the name of a packaged tokenizer such as gpt2. [default: tokenizer.json]
    output
        The folder for the shards.
    separator
        A special token that ends documents in plain text; its id is written after every document. With
        `""`, a text file is one document, and no id is written between documents.
    separator_at
        Write the separator's id after every document (end) or before it (start, as modded-nanogpt expects).
    text_field
        The field of JSON objects, or the column of Parquet files, that holds the text.
    shard_tokens
        The largest number of tokens in a shard.
    format
        `gptbpe` writes shards, which llm.c and modded-nanogpt also read. `nanogpt` writes the two files
        that nanoGPT's train.py reads: train.bin, and val.bin with the last tenth of the tokens (at most
        2^20).
    threads
        Number of threads. [default: one per core]
    plan
        Tokenize nothing yet; divide the work into this many items, for several processes or machines.
    own_shards
        With --plan: the shards of an item become shards of the dataset, and joining copies no tokens. Shards
        then end where items end, so the files depend on the number of items.
    work_item
        Process this item of the plan in the output folder, numbered from 0. Takes no inputs. An item may be
        interrupted and repeated.
    join
        Join the finished items into a dataset, with the same files as without a plan, unless the items
        have shards of their own.
    force
        Replace other shards in the folder. The old ones stay readable until the new ones are complete.
    json
        Print a summary as JSON on standard output.
    """
    began = time.monotonic()
    if work_item is not None or join:
        if inputs or plan is not None or own_shards or (work_item is not None and join):
            raise console.Failure(
                "give either inputs, with or without --plan, or one of --work-item and --join: these take "
                "everything from the plan in the output folder"
            )
        if work_item is not None:
            planned.make_item(output, work_item, threads, json)
            return
        _say_result(planned.join(output, force, json), output, began, json)
        return
    if own_shards and plan is None:
        raise console.Failure("--own-shards is for work items; say how many: --plan N")
    if not inputs:
        raise console.Failure(
            "nothing to shard; name a text file, for example: "
            "gptbpe shard input.txt -t tokenizer.json -o data/"
        )
    if output.is_file():
        raise console.Failure(f"{output} is a file; give -o a folder for the shards")
    for path in inputs:
        if (path / "manifest.json").is_file():
            raise console.Failure(
                f"{path} is a folder of shards already; name the text that they were made of"
            )
    tok = console.tokenizer(tokenizer)
    names = [sources.STANDARD_INPUT if path == console.STANDARD else console.name(path) for path in inputs]
    files = sources.expand(names, output)
    if sources.are_regular(files) and not any(Path(file).stat().st_size for file in files):
        raise console.Failure(f"{files[0]} is empty; there is nothing to make shards of")
    if separator and separator not in tok.special_tokens:
        console.say(
            f"warning: {separator} is not a special token of this tokenizer: it ends documents, "
            "but no id marks where they end"
        )
    if format == "nanogpt":
        nanogpt.check(tok.vocab_size)
    if plan is not None:
        if format == "nanogpt":
            raise console.Failure("a plan makes shards of gptbpe; leave --format out")
        planned.make_plan(
            files,
            tok,
            output,
            plan,
            separator=separator,
            separator_at=separator_at,
            text_field=text_field,
            shard_tokens=shard_tokens,
            own_shards=own_shards,
            force=force,
            json=json,
        )
        return
    folder = output if format == "gptbpe" else output / ".shards"
    with console.progress(quiet=json) as show:
        reader = shard_files(
            files,
            tok,
            folder,
            separator=separator or None,
            separator_at=separator_at,
            text_field=text_field,
            shard_tokens=shard_tokens,
            threads=threads,
            progress=show,
            force=force,
        )
    if format == "nanogpt":
        _finish_nanogpt(reader, tok, output, began, json)
    else:
        _say_result(reader, output, began, json)


def _say_result(reader: ShardReader, output: Path, began: float, json: bool) -> None:
    seconds = time.monotonic() - began
    summary = _summary(reader)
    if json:
        console.write_json({"output": str(output), **summary, "seconds": round(seconds, 3)})
        return
    documents = summary["documents"]
    console.say(
        f"{reader.total_tokens:,} tokens from {console.size(reader.text_bytes or 0)} in {documents:,} "
        f"document{'' if documents == 1 else 's'} -> {len(reader.shards)} "
        f"shard{'' if len(reader.shards) == 1 else 's'} in {output} ({seconds:.1f} s)"
    )
    console.say(f"next: python -m gptmodel.train --shards {output}")


def _finish_nanogpt(reader: ShardReader, tok: Tokenizer, output: Path, began: float, json: bool) -> None:
    """Make nanoGPT's two files of shards that are then not needed any more."""
    train, held_out = nanogpt.write(reader, output)
    folder = reader.path
    del reader
    shutil.rmtree(folder)
    seconds = time.monotonic() - began
    if json:
        summary = {"train_tokens": train, "val_tokens": held_out, "vocab_size": tok.vocab_size}
        console.write_json({"output": str(output), **summary, "seconds": round(seconds, 3)})
        return
    console.say(f"{train:,} + {held_out:,} tokens -> train.bin and val.bin in {output} ({seconds:.1f} s)")
    if tok.vocab_size > nanogpt.USUAL_IDS:
        console.say(
            f"nanoGPT takes {nanogpt.USUAL_IDS:,} ids where no meta.pkl says otherwise, this tokenizer has "
            f"{tok.vocab_size:,}: set the vocab_size of its model to that"
        )


def verify(
    *paths: Path,
    tokenizer: console.TokenizerName = None,
    threads: console.Threads = None,
    json: console.Json = False,
) -> int:
    """Read shards from the first byte to the last and check everything that can be checked.

    The checks: sizes, headers, document ends, checksums of all tokens, that every id is in the vocabulary,
    that the shards belong together, and the stored tokenizer. The exit code is 1 if something is wrong.

    Parameters
    ----------
    paths
        Folders of shards, single .bin files, or files of counts (.pcnt). [default: data]
    tokenizer
        Also check that the ids were made with this tokenizer.
    threads
        Number of shards that are read at the same time. [default: one per core]
    json
        Write one JSON object per folder instead.
    """
    expected = None if tokenizer is None else console.tokenizer(tokenizer)
    good = True
    for folder in paths or (Path("data"),):
        began = time.monotonic()
        summary: dict[str, Any] = {}
        problems = []
        if folder.suffix == ".pcnt":
            good = _verify_counts(folder, json) and good
            continue
        try:
            reader = ShardReader(console.name(folder), verify="open")
            if expected is not None:
                reader.expect_tokenizer(expected)
        except (GptBpeError, OSError) as error:
            problems.append(console.one_line(error))
        else:
            summary = _summary(reader)
            with console.progress(quiet=json) as show:
                problems = _problems(reader, threads, show)
        seconds = time.monotonic() - began
        good = good and not problems
        if json:
            console.write_json(
                {"path": str(folder), "ok": not problems, "problems": problems, **summary}
                | {"seconds": round(seconds, 3)}
            )
            continue
        for problem in problems:
            console.write(f"{problem}\n")
        if problems:
            console.say(f"{folder}: {len(problems)} problem{'' if len(problems) == 1 else 's'}")
        else:
            count = summary["shards"]
            shards = f"{count} shard{'' if count == 1 else 's'}"
            console.say(f"{folder}: all is well, {summary['tokens']:,} tokens in {shards}")
    return 0 if good else 1


def _verify_counts(path: Path, json: bool) -> bool:
    problems = []
    words = 0
    try:
        counts = CountsFile.open(path)
        words = counts.words
        counts.check()
    except (GptBpeError, OSError) as error:
        problems.append(console.one_line(error))
    if json:
        console.write_json({"path": str(path), "ok": not problems, "problems": problems, "words": words})
    elif problems:
        console.write(f"{problems[0]}\n")
    else:
        console.say(f"{path}: all is well, {words:,} different pre-tokens")
    return not problems


def _problems(reader: ShardReader, threads: int | None, show: Progress) -> list[str]:
    """One line for each shard that is damaged, and for the tokenizer."""
    read = ReadProgress()
    total = reader.total_tokens * reader.dtype.itemsize
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        checks: list[futures.Future[object]] = [
            pool.submit(reader.check, number, read) for number in range(len(reader.shards))
        ]
        checks.append(pool.submit(reader.tokenizer))
        try:
            while futures.wait(checks, SECONDS_BETWEEN_LOOKS).not_done:
                show("verifying", read.bytes, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    problems = []
    for check in checks:
        try:
            check.result()
        except (GptBpeError, OSError) as error:
            problems.append(console.one_line(error))
    return problems


def inspect(
    *paths: Path,
    document: usage.MaybeWhole = None,
    tokens: usage.Whole = 32,
    json: console.Json = False,
) -> None:
    """Describe a folder of shards, a .bin file, a file of counts (.pcnt) or a tokenizer.

    Parameters
    ----------
    paths
        Folders of shards, .bin and .pcnt files, tokenizer files. [default: data]
    document
        Show the text of this document instead, numbered from 0 through all shards.
    tokens
        How many of the first tokens to show.
    json
        Write one JSON object per path instead.
    """
    for path in paths or (Path("data"),):
        if path.suffix == ".pcnt":
            _inspect_counts(path, json)
            continue
        if isinstance(console.name(path), Path) and _is_tokenizer(path):
            _inspect_tokenizer(str(path), json)
            continue
        try:
            reader = ShardReader(console.name(path))
        except FileNotFoundError:
            if not Path(path).is_dir():
                raise
            made = "gptbpe shard input.txt -t tokenizer.json -o data/"
            raise console.Failure(f"{path} holds no shards; {made} makes some") from None
        tok = reader.tokenizer()
        if document is not None:
            ids = _document(reader, document)
            if json:
                text = None if tok is None else tok.decode(ids)
                console.write_json(
                    {"path": str(path), "document": document, "ids": ids.tolist(), "text": text}
                )
            else:
                console.write(_shown(ids, tok) + "\n")
            continue
        begin = next((reader.tokens(i, 0, min(tokens, s.tokens)) for i, s in enumerate(reader.shards)), None)
        summary = _summary(reader)
        summary["begins"] = "" if begin is None else _shown(begin, tok)
        if json:
            console.write_json({"path": str(path), **summary})
            continue
        _write_table({"path": str(path), **summary})


def _is_tokenizer(path: Path) -> bool:
    if path.is_dir():  # shards have a tokenizer.json beside them
        return (path / "tokenizer.json").exists() and not (path / "manifest.json").exists()
    return path.suffix != ".bin"


def _inspect_tokenizer(name: str, json: bool) -> None:
    tok = console.tokenizer(name)
    summary = {
        "path": name,
        "vocab_size": tok.vocab_size,
        "merges": len(tok.merges),
        "special_tokens": tok.special_tokens,
        "always_matched": {token.content: token.id for token in tok.added_tokens if not token.special}
        or None,
        "pattern": tok.pattern,
        "fingerprint": tok.fingerprint,
    }
    if json:
        console.write_json(summary)
    else:
        _write_table(summary)


def _inspect_counts(path: Path, json: bool) -> None:
    summary = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(CountsFile.open(path)).items()
    }
    if json:
        console.write_json(summary)
    else:
        _write_table(summary | {"special_tokens": ", ".join(summary["special_tokens"]) or None})


def _summary(reader: ShardReader) -> dict[str, Any]:
    """What a dataset is, in numbers."""
    manifest = reader.manifest
    return {
        "tokens": reader.total_tokens,
        "documents": manifest.get("documents"),
        "shards": len(reader.shards),
        "text_bytes": reader.text_bytes,
        "bytes_per_token": round(reader.text_bytes / reader.total_tokens, 4)
        if reader.text_bytes and reader.total_tokens
        else None,
        "vocab_size": reader.vocab_size,
        "dtype": reader.dtype.name,
        "bos": manifest.get("bos"),
        "eos": manifest.get("eos"),
        "tokenizer": reader.tokenizer_fingerprint or None,
        "fingerprint": reader.fingerprint,
        **({"options": manifest["options"]} if manifest.get("options") else {}),
    }


def _write_table(summary: dict[str, Any]) -> None:
    width = max(map(len, summary))
    for name, value in summary.items():
        if value is None:
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {shown!r}" for key, shown in value.items())
        text = f"{value:,}" if isinstance(value, int) else str(value)
        console.write(f"{name.replace('_', ' '):<{width}}  {text}\n")


def _document(reader: ShardReader, number: int) -> np.ndarray[Any, np.dtype[Any]]:
    before = 0
    for index in range(len(reader.shards)):
        ends = reader.documents(index)
        if 0 <= number - before < len(ends):
            at = number - before
            return reader.tokens(index, int(ends[at - 1]) if at else 0, int(ends[at]))
        before += len(ends)
    raise console.Failure(
        f"{reader.path} has {before:,} document{'s' * (before != 1)}, numbered from 0; there is no {number}"
    )


def _shown(ids: np.ndarray[Any, np.dtype[Any]], tok: Tokenizer | None) -> str:
    return " ".join(map(str, ids.tolist())) if tok is None else tok.decode(ids)
