"""``gptbpe train``: text in, ``tokenizer.json`` out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gptbpe import report as reports
from gptbpe import training
from gptbpe.cli import console, usage
from gptbpe.counts import CountsFile
from gptbpe.tokenizer import Tokenizer
from gptbpe.training import Piece, documents
from gptbpe.types import END_OF_TEXT

VOCABULARY, PATTERN = 512, "cl100k"
"""What is trained unless asked otherwise."""


def train(
    *inputs: Path,
    vocab: Annotated[int | None, Parameter(name=["--vocab", "--vocab-size"], converter=usage.whole)] = None,
    counts: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    pattern: str | None = None,
    tie_break: Literal["smallest-ids", "huggingface", "bytes", "first-seen"] = "smallest-ids",
    characters: Annotated[bool, Parameter(negative="")] = False,
    special_token: Annotated[list[str] | None, Parameter(negative="")] = None,
    separator: str | None = None,
    weight: Annotated[list[int] | None, Parameter(negative="", converter=usage.whole)] = None,
    min_count: usage.Whole = 1,
    max_token_bytes: usage.MaybeWhole = None,
    extend: str | None = None,
    report: Path | None = None,
    max_memory: str | None = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("tokenizer.json"),
    threads: console.Threads = None,
    json: console.Json = False,
) -> None:
    """Train a byte-level BPE tokenizer on text files.

    The result does not depend on the number of threads or the order of the files. If the output file
    exists, it is replaced, but only once the new file is complete.

    Parameters
    ----------
    inputs
        Text files: plain, .jsonl or .parquet (field `text`), .gz and .zst; `-` reads standard input.
    vocab
        Number of ids: 256 bytes, merges and special tokens. [default: 512]
    counts
        Train on files written by `gptbpe count-pretokens` instead of text. The pattern and the special
        tokens come from these files.
    pattern
        How text is split into pre-tokens: gpt2, cl100k, o200k, llama3, qwen2, nanochat, deepseek, or a
        regex. [default: cl100k]
    tie_break
        Which of several equally frequent pairs is merged first.
    characters
        Make one token per character instead; `--vocab` then has no effect.
    special_token
        A special token; it also ends documents in the text. May be given several times. [default:
        <|endoftext|>]
    separator
        Text that ends a document in plain text, in addition to the special tokens.
    weight
        How many times each pre-token of an input counts, an integer of at least 1. Give it once per input
        or file of counts, in their order.
    min_count
        Do not merge pairs that occur less often than this.
    max_token_bytes
        Do not make tokens longer than this many bytes.
    extend
        A tokenizer file to extend: its merges, pattern and special tokens are kept, and new merges are
        added until there are `--vocab` ids.
    report
        Also write a report on the vocabulary to this file (.svg, .png, .md or .json): compression of each
        input, longest and rarest tokens.
    max_memory
        Roughly how much memory training may use, such as 512M or 2G; counts that do not fit go to temporary
        files.
    output
        The tokenizer file to write; `-` is standard output.
    threads
        Number of threads for counting and merging. [default: one per core]
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
            "--extend": extend is not None,
            "--report": report is not None,
        },
    )
    if json and output == console.STANDARD:
        raise console.Failure("--json and -o - both write to standard output; give -o a file")
    base = None if extend is None else _base(extend, vocab, pattern, special_token, characters)
    read = [*inputs, *(counts or []), None if extend is None else console.tokenizer_file(extend)]
    console.check_output(output, *read)
    if report is not None:
        _check_report(report, output)
        console.check_output(report, *read)
    pieces = [piece(path, keep=characters or report is not None) for path in inputs]
    for path in counts or ():
        if path.suffix != ".pcnt" and path.is_file() and not _begins_as_counts(path):
            raise console.Failure(
                f"{path} is not a file of counts (gptbpe count-pretokens writes them); "
                "for a text, leave --counts out"
            )
    if counts:
        size: int | None = sum(CountsFile.open(path).text_bytes for path in counts)
    else:
        size = training.size(pieces)
    if size == 0:
        empty = console.shown((counts or inputs)[0])
        raise console.Failure(f"{empty} is empty; there is nothing to learn from")
    special_tokens = [END_OF_TEXT] if special_token is None else special_token
    began = time.monotonic()
    first = console.shown((counts or inputs)[0])
    with console.progress(quiet=json) as show:
        heard = _Reading(first, show)
        if counts:
            # Only what was asked for is compared with the files.
            asked: training.Options = {
                "tie_break": tie_break,
                "min_count": min_count,
                "max_token_bytes": max_token_bytes,
                "threads": threads,
                "progress": show,
            }
            if pattern is not None:
                asked["pattern"] = pattern
            if special_token is not None:
                asked["special_tokens"] = special_token
            tok = Tokenizer.train_from_counts(
                counts, vocab_size=VOCABULARY if vocab is None else vocab, weights=weight, **asked
            )
        elif characters:
            tok = Tokenizer.characters(pieces, special_tokens=special_tokens)
        else:
            wanted = VOCABULARY if vocab is None else vocab
            options: training.ExtendOptions = {
                "tie_break": tie_break,
                "min_count": min_count,
                "max_token_bytes": max_token_bytes,
                "separator": separator or None,
                "weights": weight,
                "max_memory": max_memory,
                "threads": threads,
                "progress": heard,
            }
            if base is None:
                split = PATTERN if pattern is None else pattern
                tok = Tokenizer.train(pieces, wanted, pattern=split, special_tokens=special_tokens, **options)
            else:
                tok = base.extend(pieces, wanted, **options)
        seconds = time.monotonic() - began
        console.save(output, tok.to_bytes())
        measured = None
        if report is not None:
            named = dict(zip(map(console.shown, inputs), pieces, strict=True))
            measured = reports.measure(tok, named, threads=threads, progress=show)
            measured.save(report)
    size = heard.bytes if size is None else size
    if json:
        summary = {
            "output": str(output),
            "vocab_size": tok.vocab_size,
            "merges": len(tok.merges),
            "special_tokens": tok.special_tokens,
            "pattern": tok.pattern,
            "fingerprint": tok.fingerprint,
            "text_bytes": size,
            "seconds": round(seconds, 3),
        }
        if measured is not None:
            summary |= {"report": str(report), "bytes_per_token": measured.total.bytes_per_token}
        console.write_json(summary)
        return
    kind = "characters" if characters else f"{len(tok.merges):,} merges"
    console.say(
        f"{tok.vocab_size:,} tokens ({kind}) from {console.size(size)} in {seconds:.1f} s "
        f"-> {console.shown(output)}"
    )
    if measured is not None:
        console.say(f"{measured.total.bytes_per_token} bytes per token -> {report}")
    if output != console.STANDARD:
        first = console.shown(inputs[0]) if inputs else "input.txt"
        console.say(f"next: gptbpe shard {first} -t {output} -o data/")


class _Reading:
    """Passes progress on, and knows how much was read: of a pipe nothing else does."""

    def __init__(self, name: str, show: console.Progress) -> None:
        self.bytes = 0
        self._name = name
        self._show = show

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if phase == "counting":
            self.bytes = done
        elif not self.bytes:
            raise console.Failure(f"{self._name} is empty; there is nothing to learn from")
        self._show(phase, done, total)


def _base(
    name: str, vocab: int | None, pattern: str | None, special_token: list[str] | None, characters: bool
) -> Tokenizer:
    """Load the tokenizer to go on from; whatever contradicts it is refused, both named."""
    base = console.tokenizer(name)
    if characters:
        raise console.Failure(
            f"--characters learns no merges, and --extend {name} goes on with them; leave one out"
        )
    if pattern is not None and pattern != base.pattern:
        raise console.Failure(
            f"--pattern {pattern} contradicts --extend {name}, whose pattern is {base.pattern}; leave "
            "--pattern out, or train anew without --extend"
        )
    if special_token is not None and special_token != list(base.special_tokens):
        raise console.Failure(
            f"--special-token {' '.join(special_token)} contradicts --extend {name}, whose special tokens "
            f"are {' '.join(base.special_tokens) or 'none'}; leave --special-token out, or train "
            "anew without --extend"
        )
    if vocab is None:
        raise console.Failure(
            f"say how large it is to become: --vocab N, above the {base.vocab_size} ids of --extend {name}"
        )
    return base


def _check_report(report: Path, output: Path) -> None:
    """Find out before the work whether the report can be written."""
    if report == console.STANDARD:
        raise console.Failure("a report is a file, whose name says what is in it; give --report a name")
    reports.check_name(report)
    console.check_output(report)
    if report.resolve() == output.resolve():
        raise console.Failure(f"--report and -o both name {report}; give the report another name")


def _refuse_contradictions(counts: list[Path] | None, others: dict[str, bool]) -> None:
    given = [name for name, is_given in others.items() if is_given]
    if counts and given:
        raise console.Failure(
            f"--counts and {' and '.join(given)} do not go together: text is counted first, with its own "
            "options, by gptbpe count-pretokens"
        )


def _begins_as_counts(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x89PCN"


def piece(path: Path, keep: bool = False) -> Piece:
    """Settle an input; what can be read only once is read now if it is to be kept."""
    if path == console.STANDARD and not keep:
        console.explain_standard_input()
        return path
    if isinstance(url := console.name(path), str):
        return next(iter(documents(url)))
    if path != console.STANDARD:
        if not path.exists():
            raise FileNotFoundError(2, "no such file", str(path))
        if path.is_dir():
            raise IsADirectoryError(21, "is a directory", str(path))
    if keep and not path.is_file():
        return console.read_input(path)
    return next(iter(documents(path)))
