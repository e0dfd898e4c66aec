"""One fresh process for one API and one text.

    PYTHON _worker.py JOB        answers lines of JSON on standard output: {"load", "first_call", "bytes",
                                 "documents"}, then for every line it reads one pass: {"seconds", "tokens",
                                 "digest"}
    PYTHON _worker.py once JOB   loads, encodes the text by one call, answers how many tokens, and ends
    PYTHON _worker.py training JOB   lays the text out, trains, answers {"setup", "seconds", "peak_bytes",
                                 "tokens", "digest"}, and ends
    PYTHON _worker.py TASK JOB   what is needed but not measured: reference, text, shards, train

JOB is an ``_apis.Job`` as JSON. A failure is a line {"error"}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import _apis


def main() -> None:
    *task, text = sys.argv[1:]
    fields = json.loads(text)
    job = _apis.Job(**fields | {"vocabulary": _apis.Vocabulary(**fields["vocabulary"])})
    if job.cpu is not None:
        os.sched_setaffinity(0, {job.cpu})
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # a library that prints does not talk to the parent

        def answer(**values: Any) -> None:
            answers.write(json.dumps(values) + "\n")

        try:
            if task:
                answer(**_TASKS[task[0]](job))
            else:
                _passes(job, answer)
        except BaseException as error:  # tiktoken panics with one, and the parent has to hear of it
            answer(error=f"{type(error).__name__}: {error}"[:300])


def _passes(job: _apis.Job, answer: Any) -> None:
    began = time.perf_counter()
    tok = _apis.load(job)
    loaded = time.perf_counter()
    _apis.first_call(job, tok)
    called = time.perf_counter()
    documents = job.read_documents()
    work = _apis.work(job, tok, documents)
    answer(
        load=loaded - began,
        first_call=called - loaded,
        bytes=sum(map(len, documents)),
        documents=len(documents),
    )
    for _ in sys.stdin:
        began = time.perf_counter()
        result = work.run()
        seconds = time.perf_counter() - began
        output = work.output(result)
        answer(seconds=seconds, **_described(output))
        del result, output  # or the next pass would find less memory than this one


def _described(output: Any) -> dict[str, Any]:
    """How much it is, and a hash of it: of bytes as they are, of ids as little-endian u32."""
    from hashlib import blake2b

    if isinstance(output, int):
        return {"tokens": output, "digest": None}
    if isinstance(output, bytes):
        return {"tokens": None, "digest": blake2b(output, digest_size=16).hexdigest()}
    import numpy as np

    ids = np.ascontiguousarray(output, dtype="<u4")
    return {"tokens": len(ids), "digest": blake2b(ids.data, digest_size=16).hexdigest()}


def _once(job: _apis.Job) -> dict[str, Any]:
    tok = _apis.load(job)
    encode = _apis.call(job, tok)
    (document,) = job.read_documents()
    return {"tokens": len(encode(document.decode())), "digest": None}


def _training(job: _apis.Job) -> dict[str, Any]:
    """Train once. The peak of memory is that over the libraries and the text, which are there before."""
    import _memory
    import _trainers

    began = time.perf_counter()
    trainer = _trainers.trainer(job)
    setup = time.perf_counter() - began
    resident = _memory.begin()
    began = time.perf_counter()
    result = trainer.run()
    seconds = time.perf_counter() - began
    peak = _memory.peak_over(resident)
    tokens = trainer.tokens(result)
    joined = b"".join(len(token).to_bytes(4, "little") + token for token in tokens)
    return (
        {"setup": setup, "seconds": seconds, "peak_bytes": peak}
        | _described(joined)
        | {"tokens": len(tokens)}
    )


def _reference(job: _apis.Job) -> dict[str, Any]:
    """The ids of tiktoken, a few documents at a time: as Python integers they take ten times the text."""
    import numpy as np

    tok = _apis.load(job)
    texts = [document.decode() for document in job.read_documents()]
    ids = [
        np.asarray(document, dtype="<u4")
        for start in range(0, len(texts), 256)
        for document in tok.encode_ordinary_batch(texts[start : start + 256])
    ]
    return _described(np.concatenate(ids))


def _text(job: _apis.Job) -> dict[str, Any]:
    return _described(b"".join(job.read_documents()))


def _shards(job: _apis.Job) -> dict[str, Any]:
    """What lies in a folder of shards, without the ids that end documents."""
    import numpy as np

    from gptbpe import ShardReader

    reader = ShardReader(job.text)
    ids = [np.asarray(reader.tokens(i, 0, shard.tokens)) for i, shard in enumerate(reader.shards)]
    joined = np.concatenate(ids)
    return _described(joined[joined != reader.manifest["eos"]])


def _train(job: _apis.Job) -> dict[str, Any]:
    """Train the vocabulary that the job describes, and write it where the job says."""
    from pathlib import Path

    from gptbpe import Tokenizer

    vocabulary = job.vocabulary
    assert vocabulary.json is not None
    assert vocabulary.pattern is not None
    assert vocabulary.size is not None
    separator = _apis.SEPARATOR.decode().rstrip()
    tok = Tokenizer.train(
        Path(job.text), vocabulary.size, pattern=vocabulary.pattern, special_tokens=[separator]
    )
    tok.save(vocabulary.json)
    tok.save_tiktoken(vocabulary.ranks)
    return {"regexes": list(tok.regexes)}


_TASKS = {
    "once": _once,
    "training": _training,
    "reference": _reference,
    "text": _text,
    "shards": _shards,
    "train": _train,
}

if __name__ == "__main__":
    main()
