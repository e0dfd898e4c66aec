"""The trainers that are compared, one function each, under one shape.

The worker processes import this file, in our interpreter and in the one of the peers; a library is imported
by its own function alone. A trainer is named by its library and its method: ``rustbpe train_from_iterator``.
``gptbpe train@portable`` is ours with a kernel forced, and ``gptbpe train 1/4`` reads a quarter of the text.

The work is the same for all: so many merges, of the same documents, split by the same pattern, and no special
tokens learned. ``run`` is timed, and begins with the text in memory, in the form that the library takes;
ours begins with the name of a file. ``tokens`` returns what each merge made, in order, untimed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _apis import Job

if TYPE_CHECKING:
    from gptbpe.types import TieBreak

END = "<|endoftext|>"
"""What ends a document. A line break behind it belongs to the next document, as it does for ours."""

REGEXES = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
}
FFBPE_REGEXES = REGEXES | {"gpt2": None}
"""It has scanners for the patterns that it knows by their letter, and for GPT-2's under no name at all."""

TIE_BREAKS = {
    "gptbpe": "smallest-ids",
    "rustbpe": "smallest-ids",
    "gigatoken": "smallest-ids",
    "ffbpe": "smallest-ids",
    "tokenizers": "huggingface",
}
"""The rules, by our names, of the libraries that have one of ours; the merges of others are not compared."""


@dataclass(frozen=True)
class Trainer:
    """One training: ``run`` is timed, ``tokens`` says what its result learned."""

    run: Callable[[], Any]
    tokens: Callable[[Any], list[bytes]]


def trainer(job: Job) -> Trainer:
    """Import the library and lay the text out as it takes it."""
    return _TRAINERS[f"{job.library} {job.method}"](job)


def _size(job: Job) -> int:
    assert job.vocabulary.size is not None
    return job.vocabulary.size


def _regex(job: Job) -> str:
    assert job.vocabulary.pattern is not None
    return REGEXES[job.vocabulary.pattern]


def _documents(job: Job) -> list[str]:
    return [document for document in Path(job.text).read_bytes().decode().split(END) if document]


def _gptbpe(job: Job, tie_break: TieBreak = "smallest-ids") -> Trainer:
    from gptbpe import Tokenizer

    with Path(job.text).open("rb") as file:  # in the page cache, as the peers' text is in memory
        while file.read(1 << 20):
            pass
    if job.kernel is not None:
        _force(job.kernel)

    def run() -> Any:
        return Tokenizer.train(
            [Path(job.text)],
            _size(job) + 1,  # the special token is an id more
            pattern=job.vocabulary.pattern,
            special_tokens=[END],
            tie_break=tie_break,
            threads=job.threads,
        )

    return Trainer(run, lambda tok: [tok.token_bytes(256 + merge) for merge in range(len(tok.merges))])


def _force(kernel: str) -> None:
    """Have ``Tokenizer.train`` count and merge with a kernel of ours that is not the fastest one.

    Users have no such option: the extension's class takes a kernel, and here it is given one.
    """
    from functools import partial
    from inspect import signature

    from gptbpe import training

    names: dict[str, Any] = vars(training)
    if "kernel" not in signature(names["WordCounter"]).parameters:
        raise RuntimeError("not supported: gptbpe._core.WordCounter takes no kernel")
    names["WordCounter"] = partial(names["WordCounter"], kernel=kernel)


def _rustbpe(job: Job) -> Trainer:
    import rustbpe

    documents, size, regex = _documents(job), _size(job), _regex(job)

    def run() -> Any:
        tokenizer = rustbpe.Tokenizer()
        tokenizer.train_from_iterator(iter(documents), size, pattern=regex)
        return tokenizer

    def tokens(tokenizer: Any) -> list[bytes]:
        ranks = sorted(tokenizer.get_mergeable_ranks(), key=lambda row: row[1])
        return [bytes(token) for token, rank in ranks if rank >= 256]

    return Trainer(run, tokens)


def _gigatoken(job: Job) -> Trainer:
    import gigatoken

    if job.vocabulary.pattern != "gpt2":
        raise RuntimeError("gigatoken trains with GPT-2's pattern alone")
    text, size = END.encode().join(document.encode() for document in _documents(job)), _size(job)
    return Trainer(
        lambda: gigatoken.train_bpe(text, size, [], tie_breaking="raw_token_ids", separator=END.encode()),
        lambda result: [left + right for left, right in result[1]],
    )


def _ffbpe(job: Job) -> Trainer:
    import ffbpe

    documents, size = _documents(job), _size(job)
    assert job.vocabulary.pattern is not None
    regex = FFBPE_REGEXES[job.vocabulary.pattern]

    def run() -> Any:
        counter = ffbpe.PreTokenizer([], pat_str=regex).word_counter()
        counter.add_source(documents)
        made = ffbpe.BpeTrainer([], tie_break="smallest_pair_id")
        made.add_word_counter(counter)
        made.train(size)
        return made

    def tokens(made: Any) -> list[bytes]:
        return [token for token, id in sorted(made.vocab.items(), key=lambda row: row[1]) if id >= 256]

    return Trainer(run, tokens)


def _fast_bpe_rs(job: Job) -> Trainer:
    from fast_bpe_rs import BPE

    documents, size, regex = _documents(job), _size(job), _regex(job)

    def run() -> Any:
        made = BPE(regex)
        made.train(size, documents)
        return made

    return Trainer(run, lambda made: list(takewhile(bool, (made.decode([id]) for id in count(256)))))


def _tokenizers(job: Job) -> Trainer:
    import tokenizers

    documents, size, regex = _documents(job), _size(job), _regex(job)
    parts: Any = tokenizers.pre_tokenizers
    split = parts.Split(tokenizers.Regex(regex), "isolated")
    alphabet = parts.ByteLevel.alphabet()

    def run() -> Any:
        made = tokenizers.Tokenizer(tokenizers.models.BPE())
        made.pre_tokenizer = parts.Sequence(
            [
                split,
                parts.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        made.train_from_iterator(
            documents,
            tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False),
            length=len(documents),
        )
        return made

    def tokens(made: Any) -> list[bytes]:
        bytes_of = _byte_characters()
        merges = json.loads(made.to_str())["model"]["merges"]
        return [bytes(bytes_of[character] for character in "".join(merge)) for merge in merges]

    return Trainer(run, tokens)


def _byte_characters() -> dict[str, int]:
    """Return GPT-2's printable stand-ins for bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + index): byte for index, byte in enumerate(others)}


_TRAINERS: dict[str, Callable[[Job], Trainer]] = {
    "gptbpe train": _gptbpe,
    "gptbpe train-huggingface": lambda job: _gptbpe(job, "huggingface"),
    "rustbpe train_from_iterator": _rustbpe,
    "gigatoken train_bpe": _gigatoken,
    "ffbpe BpeTrainer": _ffbpe,
    "fast-bpe-rs train": _fast_bpe_rs,
    "tokenizers train_from_iterator": _tokenizers,
}
