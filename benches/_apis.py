"""The calls that are compared, one function each, under one shape.

The worker processes import this file, in our interpreter and in the one of the peers. Each has only some of
the libraries, so a library is imported where it is loaded, and only the standard library at the top.

An API is named by its library and its method: ``gptbpe encode_ragged``. ``gptbpe encode_ragged@avx2`` is the
same with a kernel forced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

SEPARATOR = b"<|endoftext|>\n"
"""The line break belongs to it, as it does for ``gptbpe shard`` where a separator is a whole line."""


@dataclass(frozen=True)
class Vocabulary:
    """One vocabulary as each library wants it; paths are absolute, None where a library cannot have it."""

    name: str
    ranks: str  # a .tiktoken file
    packaged: str | None = None  # our packaged encoding
    tiktoken: str | None = (
        None  # the definition in tiktoken_ext.openai_public: pattern and SHA-256 of the ranks
    )
    gigatoken: str | None = None  # the name of its pre-tokenizer
    fastokens: str | None = None  # the name of its preset
    json: str | None = None  # a tokenizer.json
    pattern: str | None = None  # the regex, where nothing packaged knows it
    size: int | None = None  # of a vocabulary that we train ourselves


@dataclass(frozen=True)
class Job:
    """What one worker process does."""

    api: str
    vocabulary: Vocabulary
    text: str
    documents: str | int = "separator"  # "separator", "one", or the number of characters of each
    threads: int = 1
    cpu: int | None = None  # the processor to be pinned to

    @property
    def library(self) -> str:
        return self.api.split()[0]

    @property
    def method(self) -> str:
        return self.api.split()[1].partition("@")[0]

    @property
    def kernel(self) -> str | None:
        return self.api.partition("@")[2] or None

    def read_documents(self) -> list[bytes]:
        """Read the text, as documents between separators or as cut otherwise."""
        data = Path(self.text).read_bytes()
        if self.documents == "separator":
            return [document for document in data.split(SEPARATOR) if document]
        text = data.replace(SEPARATOR, b"")
        if self.documents == "one":
            return [text]
        characters, length = text.decode(), int(self.documents)
        calls = range(0, min(len(characters) // length, CALLS) * length, length)
        return [characters[start : start + length].encode() for start in calls]


CALLS = 20_000
"""How many short texts are encoded, each by a call of its own."""


@dataclass(frozen=True)
class Work:
    """One pass: ``run`` is timed; ``output`` turns what it returned into ids or bytes, untimed."""

    run: Callable[[], Any]
    output: Callable[[Any], Any]


# ---- loading --------------------------------------------------------------------------------------


def load(job: Job) -> Any:
    """Load the vocabulary into the job's library, as its documentation says to."""
    return globals()[f"_load_{job.library}"](job)


def _load_gptbpe(job: Job) -> Any:
    import gptbpe

    vocabulary = job.vocabulary
    if vocabulary.packaged is not None:
        tokenizer = gptbpe.Tokenizer.get(vocabulary.packaged)
    elif vocabulary.json is not None:
        tokenizer = gptbpe.Tokenizer.load(vocabulary.json)
    else:
        assert vocabulary.pattern is not None
        tokenizer = gptbpe.Tokenizer.from_tiktoken(vocabulary.ranks, pattern=vocabulary.pattern)
    if job.kernel is None:
        return tokenizer
    return gptbpe.Tokenizer._of(tokenizer._core.with_options(job.kernel, None))


def _load_gigatoken(job: Job) -> Any:
    import gigatoken

    if job.method != "encode":
        import awkward  # noqa: F401 - else imported by the first call, which is not what that call is about

    # A named pre-tokenizer without special tokens: the text is ordinary throughout, as for everybody else.
    return gigatoken.Tokenizer.from_tiktoken(job.vocabulary.ranks, pretokenizer=job.vocabulary.gigatoken)


def _load_fastokens(job: Job) -> Any:
    import fastokens

    if job.vocabulary.json is not None:
        return fastokens.Tokenizer.from_file(job.vocabulary.json)
    return fastokens.Tokenizer.from_tiktoken(job.vocabulary.ranks, encoding=job.vocabulary.fastokens)


def _load_tiktoken(job: Job) -> Any:
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe

    vocabulary = job.vocabulary
    if vocabulary.tiktoken is None:
        ranks = load_tiktoken_bpe(vocabulary.ranks)
        assert vocabulary.pattern is not None
        return tiktoken.Encoding(
            vocabulary.name, pat_str=vocabulary.pattern, mergeable_ranks=ranks, special_tokens={}
        )
    from tiktoken_ext import openai_public

    def from_disk(_url: str, expected_hash: str | None = None) -> dict[bytes, int]:
        return load_tiktoken_bpe(vocabulary.ranks, expected_hash)

    openai_public.load_tiktoken_bpe = from_disk  # its own definition, from the file instead of the network
    return tiktoken.Encoding(**getattr(openai_public, vocabulary.tiktoken)())


def _load_tokenizers(job: Job) -> Any:
    import tokenizers

    if job.vocabulary.json is None:
        raise RuntimeError("tokenizers needs a tokenizer.json")
    return tokenizers.Tokenizer.from_file(job.vocabulary.json)


# ---- passes ---------------------------------------------------------------------------------------


def work(job: Job, tok: Any, documents: list[bytes]) -> Work:
    """Lay the documents out as the API takes them, and return one pass over them."""
    method = f"{job.library} {job.method}"
    if method in _PASSES:
        return _PASSES[method](job, tok, documents)
    return _one_by_one(call(job, tok), documents)


def call(job: Job, tok: Any) -> Callable[[str], Any]:
    """Return the method that encodes one text."""
    return _CALLS[f"{job.library} {job.method}"](tok)


def first_call(job: Job, tok: Any) -> None:
    """Encode a few bytes, so that what a library makes at its first call is not taken for encoding."""
    if f"{job.library} {job.method}" in _CALLS:
        call(job, tok)("Hello, world!")
        return
    batch = next(name for name in _PASSES if name.startswith(f"{job.library} ")).split()[1]
    work(replace(job, api=f"{job.library} {batch}"), tok, [b"Hello, world!"]).run()


def _ragged(job: Job, tok: Any, documents: list[bytes]) -> Work:
    return Work(
        lambda: tok.encode_ragged(documents, disallowed_special=(), threads=job.threads),
        lambda result: result[0],
    )


def _own_files(job: Job, tok: Any, documents: list[bytes]) -> Work:
    return Work(
        lambda: list(tok.encode_files(job.text, separator=SEPARATOR.decode(), threads=job.threads)),
        lambda result: _joined(ids for ids, _ in result),
    )


def _count(job: Job, tok: Any, documents: list[bytes]) -> Work:
    def run() -> int:
        return sum(tok.count(document, disallowed_special=()) for document in documents)

    return Work(run, int)


def _own_decode(job: Job, tok: Any, documents: list[bytes]) -> Work:
    ids = tok.encode_ragged(documents, disallowed_special=(), threads=job.threads)[0]
    return Work(lambda: tok.decode_bytes(ids), bytes)


def _gigatoken_batch(job: Job, tok: Any, documents: list[bytes]) -> Work:
    return Work(lambda: tok.encode_batch(documents, parallel=job.threads > 1), _flattened)


def _gigatoken_buffer(job: Job, tok: Any, documents: list[bytes]) -> Work:
    import gigatoken

    source = gigatoken.BytesSource(SEPARATOR.join(documents), separator=SEPARATOR)
    return Work(lambda: tok.encode_batch(source, parallel=job.threads > 1), _flattened)


def _gigatoken_files(job: Job, tok: Any, documents: list[bytes]) -> Work:
    import gigatoken

    source = gigatoken.TextFileSource([job.text], separator=SEPARATOR)
    return Work(lambda: tok.encode_files(source, parallel=job.threads > 1), _flattened)


def _gigatoken_decode(job: Job, tok: Any, documents: list[bytes]) -> Work:
    ids = _flattened(tok.encode_batch(documents, parallel=False))
    return Work(lambda: tok.decode(ids), bytes)


def _fastokens_batch(job: Job, tok: Any, documents: list[bytes]) -> Work:
    import numpy as np

    texts = [document.decode() for document in documents]
    return Work(lambda: tok.encode_batch_flat(texts), lambda result: np.frombuffer(result[0], "<u4"))


def _tiktoken_batch(job: Job, tok: Any, documents: list[bytes]) -> Work:
    texts = [document.decode() for document in documents]
    return Work(lambda: tok.encode_ordinary_batch(texts, num_threads=job.threads), _joined)


def _tiktoken_decode(job: Job, tok: Any, documents: list[bytes]) -> Work:
    ids = list(chain.from_iterable(tok.encode_ordinary(document.decode()) for document in documents))
    return Work(lambda: tok.decode_bytes(ids), bytes)


def _tokenizers_batch(job: Job, tok: Any, documents: list[bytes]) -> Work:
    texts = [document.decode() for document in documents]
    return Work(
        lambda: tok.encode_batch_fast(texts, add_special_tokens=False),
        lambda result: _joined(encoding.ids for encoding in result),
    )


def _one_by_one(encode: Callable[[str], Any], documents: list[bytes]) -> Work:
    texts = [document.decode() for document in documents]

    def run() -> None:
        for text in texts:
            encode(text)

    return Work(run, lambda _: _joined(encode(text) for text in texts))


def _flattened(array: Any) -> Any:
    import awkward
    import numpy as np

    return np.asarray(awkward.flatten(array))


def _joined(parts: Iterable[Any]) -> Any:
    import numpy as np

    return np.concatenate([np.asarray(part, dtype="<u4") for part in parts] or [np.zeros(0, "<u4")])


_PASSES: dict[str, Callable[[Job, Any, list[bytes]], Work]] = {
    "gptbpe encode_ragged": _ragged,
    "gptbpe encode_files": _own_files,
    "gptbpe count": _count,
    "gptbpe decode_bytes": _own_decode,
    "gigatoken encode_batch": _gigatoken_batch,
    "gigatoken BytesSource": _gigatoken_buffer,
    "gigatoken encode_files": _gigatoken_files,
    "gigatoken decode": _gigatoken_decode,
    "fastokens encode_batch_flat": _fastokens_batch,
    "tiktoken encode_ordinary_batch": _tiktoken_batch,
    "tiktoken decode_bytes": _tiktoken_decode,
    "tokenizers encode_batch_fast": _tokenizers_batch,
}

_CALLS: dict[str, Callable[[Any], Callable[[str], Any]]] = {
    "gptbpe encode": lambda tok: tok.encode,
    "gptbpe encode_ordinary": lambda tok: tok.encode_ordinary,
    # Ours and tiktoken's also look for special tokens. A partial that says not to would take longer.
    "gptbpe encode_to_numpy": lambda tok: tok.encode_to_numpy,
    "gigatoken encode": lambda tok: tok.encode,
    "tiktoken encode": lambda tok: tok.encode,
    "tiktoken encode_ordinary": lambda tok: tok.encode_ordinary,
    "tiktoken encode_to_numpy": lambda tok: tok.encode_to_numpy,
}
