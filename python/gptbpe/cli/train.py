"""``gptbpe train``: text in, ``tokenizer.json`` out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gptbpe import training
from gptbpe.cli import console
from gptbpe.counts import CountsFile
from gptbpe.tokenizer import Tokenizer
from gptbpe.training import Piece, documents
from gptbpe.types import END_OF_TEXT


def train(
    *inputs: Path,
    vocab: Annotated[int, Parameter(name=["--vocab", "--vocab-size"])] = 512,
    counts: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    pattern: str | None = None,
    tie_break: Literal["smallest-ids", "huggingface", "bytes", "first-seen"] = "smallest-ids",
    characters: Annotated[bool, Parameter(negative="")] = False,
    special_token: Annotated[list[str] | None, Parameter(negative="")] = None,
    separator: str | None = None,
    weight: Annotated[list[int] | None, Parameter(negative="")] = None,
    min_count: int = 1,
    max_memory: str | None = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("tokenizer.json"),
    threads: console.Threads = None,
    json: console.Json = False,
) -> None:
    """Train a byte-level BPE tokenizer on text files.

    The result does not depend on the number of threads or the order of the files. An existing output file is
    replaced, at once and only when the new one is complete.

    Parameters
    ----------
    inputs
        Text files: plain, .jsonl or .parquet (field `text`), .gz and .zst; `-` reads standard input.
    vocab
        Ids in all: 256 bytes, merges and special tokens.
    counts
        Files that `gptbpe count-pretokens` wrote, instead of text files. Pattern and special tokens are
        theirs.
    pattern
        How text is split into pre-tokens: gpt2, cl100k (the default), o200k, llama3, qwen2, nanochat,
        deepseek, or a regex.
    tie_break
        Which of several equally frequent pairs is merged first.
    characters
        Make one token per character instead; `--vocab` does not matter then.
    special_token
        A special token, which also ends documents in the text; may be given several times.
        Without it there is `<|endoftext|>`.
    separator
        Ends documents in plain text, besides special tokens.
    weight
        How often each pre-token of an input counts, an integer from 1. Give it once for each input, or file
        of counts, in their order.
    min_count
        Pairs that occur less often are not merged.
    max_memory
        About how much memory counting may take, such as 512M or 2G; what does not fit goes to temporary
        files.
    output
        Where the tokenizer goes; `-` is standard output.
    threads
        How many threads count; one per core by default.
    json
        Print a summary as JSON on standard output.
    """
    if not inputs and not counts:
        raise console.Failure(
            "nothing to train on; name a text file, for example: gptbpe train input.txt --vocab 512"
        )
    _refuse_contradictions(
        counts,
        {
            "text files": bool(inputs),
            "--characters": characters,
            "--separator": separator is not None,
            "--max-memory": max_memory is not None,
        },
    )
    if json and output == console.STANDARD:
        raise console.Failure("--json and -o - both write to standard output; give -o a file")
    console.check_output(output)
    pieces = [piece(path) for path in inputs]
    if counts:
        size = sum(CountsFile.open(path).text_bytes for path in counts)
    else:
        size = sum(part.stat().st_size if isinstance(part, Path) else len(part) for part in pieces)
    if size == 0:
        empty = console.shown((counts or inputs)[0])
        raise console.Failure(f"{empty} is empty; there is nothing to learn from")
    special_tokens = [END_OF_TEXT] if special_token is None else special_token
    began = time.monotonic()
    if counts:
        # Only what was asked for is compared with the files.
        asked: training.Options = {"tie_break": tie_break, "min_count": min_count}
        if pattern is not None:
            asked["pattern"] = pattern
        if special_token is not None:
            asked["special_tokens"] = special_token
        with console.progress(quiet=json) as show:
            asked["progress"] = show
            tok = Tokenizer.train_from_counts(counts, vocab_size=vocab, weights=weight, **asked)
    elif characters:
        tok = Tokenizer.characters(pieces, special_tokens=special_tokens)
    else:
        with console.progress(quiet=json) as show:
            tok = Tokenizer.train(
                pieces,
                vocab_size=vocab,
                pattern="cl100k" if pattern is None else pattern,
                special_tokens=special_tokens,
                tie_break=tie_break,
                min_count=min_count,
                separator=separator or None,
                weights=weight,
                max_memory=max_memory,
                threads=threads,
                progress=show,
            )
    seconds = time.monotonic() - began
    console.save(output, tok.to_bytes())
    if json:
        console.write_json(
            {
                "output": str(output),
                "vocab_size": tok.vocab_size,
                "merges": len(tok.merges),
                "special_tokens": tok.special_tokens,
                "pattern": tok.pattern,
                "fingerprint": tok.fingerprint,
                "text_bytes": size,
                "seconds": round(seconds, 3),
            }
        )
        return
    kind = "characters" if characters else f"{len(tok.merges):,} merges"
    console.say(
        f"{tok.vocab_size:,} tokens ({kind}) from {console.size(size)} in {seconds:.1f} s "
        f"-> {console.shown(output)}"
    )
    if output != console.STANDARD:
        first = console.shown(inputs[0]) if inputs else "input.txt"
        console.say(f"next: gptbpe shard {first} -t {output} -o data/")


def _refuse_contradictions(counts: list[Path] | None, others: dict[str, bool]) -> None:
    given = [name for name, is_given in others.items() if is_given]
    if counts and given:
        raise console.Failure(
            f"--counts and {' and '.join(given)} do not go together: text is counted first, with its own "
            "options, by "
            "gptbpe count-pretokens"
        )


def piece(path: Path) -> Piece:
    """Take an input of the command line: a file, or standard input as text."""
    if path == console.STANDARD:
        return console.read_input(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    if path.is_dir():
        raise IsADirectoryError(21, "is a directory", str(path))
    return next(iter(documents(path)))
