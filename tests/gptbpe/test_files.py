"""From files to ids and shards, a batch at a time: the same ids, in little memory, and interruptible."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard

from gptbpe import ShardReader, Tokenizer, errors, pipeline, shard_files, sources
from gptbpe._core import DocumentBuffer, EncodedBatch
from gptbpe.shards import build

EOT = "<|endoftext|>"

#: Lines of words with spaces, line breaks, scripts without spaces, and bytes that are no UTF-8.
LONG = (
    "the lowest of times, 12 lows\n  die Straße\n\n好。\n你好 news 🙂 ".encode() + b"\xff\xc3 of the "
) * 40


def run(script: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def found_documents(tok: Tokenizer, *arguments: Any, **options: Any) -> list[list[int]]:
    found = []
    for ids, offsets in tok.encode_files(*arguments, **options):
        assert offsets[0] == 0
        assert offsets[-1] == len(ids)
        found += [ids[start:end].tolist() for start, end in pairwise(offsets)]
    return found


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Return files of every kind."""
    texts = ["one lower", "", "two\nlines\n", "déjà 你好 🙂", EOT, "news " * 500]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    plain = b"one \xff\n<|endoftext|>\ntwo<|endoftext|>\n\nthree\r\n<|endoftext|>\r\n" + LONG
    contents = {
        "a.txt": plain,
        "b.txt.gz": gzip.compress(plain),
        "c.txt.zst": zstandard.compress(plain),
        "d.jsonl": lines,
        "e.jsonl.gz": gzip.compress(lines),
        "f.jsonl.zst": zstandard.compress(lines),
        "g.txt": b"",
        "h.md": b"<|endoftext|>",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    files = [tmp_path / name for name in contents]
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return files
    table = pyarrow.table({"text": [*texts, *["more"] * 2000]}).slice(1)
    parquet.write_table(table, tmp_path / "i.parquet")
    return [*files, tmp_path / "i.parquet"]


@pytest.mark.parametrize("batch_bytes", [1, 50, 1000, 1 << 20])
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_batches_hold_the_documents(
    tok: Tokenizer, inputs: list[Path], batch_bytes: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BLOCK_BYTES", block)
    expected = [text for path in inputs for text in sources.documents(path, separator=EOT)]
    buffer = DocumentBuffer(EOT, batch_bytes, None, (), 0)
    batches = list(sources.batches(inputs, buffer))
    assert [text for batch in batches for text in batch.documents()] == expected
    assert [batch.begun for batch in batches][-1] == len(expected)
    assert sum(batch.text_bytes for batch in batches) == sum(map(len, expected))
    buffer = DocumentBuffer(EOT, batch_bytes, None, (), 7)
    rest = [text for batch in sources.batches(inputs, buffer) for text in batch.documents()]
    assert rest == expected[7:]
    ids = found_documents(tok, inputs, batch_bytes=batch_bytes, separator=EOT)
    assert ids == [tok.encode_ordinary(text) for text in expected]


def test_the_first_blank_rows_of_parquet_have_numbers(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["a"] * 1500 + [None, "b"]}), tmp_path / "input.parquet")
    with pytest.raises(errors.TextError, match="row 1501: 'text' is null"):
        list(sources.documents(tmp_path / "input.parquet"))


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", None, ".{5}|."])
def test_a_long_document_is_one_document(pattern: str | None, tmp_path: Path) -> None:
    """In parts, where the pattern can be cut, it has the ids of the whole and is one document of a shard."""
    tok = Tokenizer.train(LONG, vocab_size=300, pattern=pattern)
    (tmp_path / "a.txt").write_bytes(b"short<|endoftext|>" + LONG)
    (tmp_path / "b.txt").write_bytes(LONG + b"<|endoftext|>end")
    names = [tmp_path / "a.txt", tmp_path / "b.txt"]
    expected = [tok.encode_ordinary(text) for text in (b"short", LONG, LONG, b"end")]
    assert found_documents(tok, names, batch_bytes=100) == expected
    whole = tok.encode_ordinary(LONG)
    (tmp_path / "c.txt").write_bytes(LONG)
    assert found_documents(tok, tmp_path / "c.txt", batch_bytes=100, separator=None) == [whole]


@pytest.mark.parametrize("shard_tokens", [1, 700, 2000, 1 << 20])
def test_shards_of_long_documents_are_the_same_for_any_batches(
    tok: Tokenizer, shard_tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "input.txt").write_bytes(b"<|endoftext|>".join([b"one", LONG, b"", LONG[:999], b"two", LONG]))
    found = set()
    for batch_bytes in (64, 999, 1 << 20):
        monkeypatch.setattr(build, "BATCH_BYTES", batch_bytes)
        folder = tmp_path / str(batch_bytes)
        reader = shard_files(tmp_path / "input.txt", tok, folder, shard_tokens=shard_tokens)
        assert reader.manifest["documents"] == 6
        found.add(tuple((path.name, path.read_bytes()) for path in sorted(folder.glob("[!.]*"))))
    assert len(found) == 1


def test_files_that_are_no_regular_ones_are_read(tok: Tokenizer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "tail.txt").write_bytes(b"tail")
    writing = threading.Thread(target=(tmp_path / "pipe.txt").write_bytes, args=(b"one<|endoftext|>" + LONG,))
    writing.start()
    found = found_documents(tok, [tmp_path / "pipe.txt", tmp_path / "tail.txt"], batch_bytes=1000)
    writing.join()
    assert found == [tok.encode_ordinary(text) for text in (b"one", LONG, b"tail")]


def test_no_thread_is_left_between_batches(tok: Tokenizer, tmp_path: Path) -> None:
    """So a process may fork there, and both go on (not with one file, whose position they would share)."""
    (tmp_path / "input.txt").write_bytes(b"<|endoftext|>".join([LONG] * 20))
    expected = [id for _ in range(20) for id in tok.encode_ordinary(LONG)]
    before = threading.active_count()
    batches = tok.encode_files(tmp_path / "input.txt", batch_bytes=5000)
    found = next(batches)[0].tolist()
    assert threading.active_count() == before
    child = os.fork()
    if child == 0:
        again = tok.encode_files(tmp_path / "input.txt", batch_bytes=5000)
        os._exit(0 if [id for ids, _ in again for id in ids] == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert found + [id for ids, _ in batches for id in ids] == expected
    iterator = tok.encode_files(tmp_path / "input.txt", batch_bytes=5000)
    next(iterator)
    del iterator
    assert threading.active_count() == before


def test_an_error_far_in_ends_the_work(tok: Tokenizer, tmp_path: Path) -> None:
    lines = [json.dumps({"text": "the lowest news"})] * 2000
    (tmp_path / "input.jsonl").write_text("\n".join([*lines, "{", *lines]))
    before = threading.active_count()
    found: list[Any] = []
    with pytest.raises(errors.TextError, match=r"input\.jsonl, line 2001"):
        found.extend(tok.encode_files(tmp_path / "input.jsonl", batch_bytes=1000))
    assert found
    assert threading.active_count() == before
    (tmp_path / "input.txt").write_text("fine <|endoftext|> ж" * 50)
    letters = Tokenizer.characters(b"fine <|endoftext|> ")
    with pytest.raises(errors.UnknownCharacterError, match=r"document 1: .* byte 1 "):
        list(letters.encode_files(tmp_path / "input.txt"))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_of_several_errors_the_first_is_raised(threads: int, tmp_path: Path) -> None:
    letters = Tokenizer.characters(b"fine ")
    documents = ["fine "] * 30 + ["fine ж", "fine"] * 30
    (tmp_path / "input.txt").write_text(EOT.join(documents))
    found: list[Any] = []
    with pytest.raises(errors.UnknownCharacterError, match=r"document 30: .* byte 5 "):
        found.extend(letters.encode_files(tmp_path / "input.txt", batch_bytes=1, threads=threads))
    assert len(found) == 30
    with pytest.raises(ValueError, match="at least 1"):
        next(letters.encode_files(tmp_path / "input.txt", threads=0))


FULL_DISK = """
import resource, signal, sys, threading
from gptbpe import Tokenizer, shard_files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tok = Tokenizer.load(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
try:
    shard_files(sys.argv[1], tok, sys.argv[3])
except OSError as error:
    print(error.errno, threading.active_count())
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on file sizes")
def test_a_full_disk_ends_the_work(tok: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_bytes((LONG + b"<|endoftext|>") * 8000)
    tok.save(tmp_path / "tokenizer.json")
    done = run(FULL_DISK, tmp_path / "input.txt", tmp_path / "tokenizer.json", tmp_path / "data")
    assert (done.stdout, done.stderr) == ("27 1\n", "")
    assert not list((tmp_path / "data").glob("*.bin*"))


# ---- memory ----------------------------------------------------------------------------------------


PEAK = """
import resource, sys
from gptbpe import Tokenizer, shard_files
from gptbpe.cli import main
tok = Tokenizer.load(sys.argv[2])
tok.encode_batch([b"warm " * 300_000] * 4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[3] == "shard_files":
    shard_files(sys.argv[1], tok, sys.argv[4])
else:
    code = main([sys.argv[3], sys.argv[1], "-t", sys.argv[2], *sys.argv[4:]])
    assert code == 0, code
print("grown by", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("what", ["count", "encode", "shard_files"])
def test_a_long_document_takes_little_memory(tok: Tokenizer, what: str, tmp_path: Path) -> None:
    with (tmp_path / "input.txt").open("wb") as file:
        for _ in range(20):
            file.write(LONG * 2000)
    size = (tmp_path / "input.txt").stat().st_size
    tok.save(tmp_path / "tokenizer.json")
    more = {"count": [], "encode": ["-o", tmp_path / "ids"], "shard_files": [tmp_path / "data"]}[what]
    done = run(PEAK, tmp_path / "input.txt", tmp_path / "tokenizer.json", what, *more)
    assert done.stderr == ""
    grown = 1024 * int(done.stdout.split()[-1])
    assert size > 100_000_000
    assert grown < 96 << 20, f"{grown >> 20} MiB for {size >> 20} MiB of text"
    ids = len(tok.encode_ordinary(LONG * 2000)) * 20
    if what == "shard_files":
        reader = ShardReader(tmp_path / "data")
        assert reader.documents(0).tolist() == [reader.total_tokens]
        assert abs(reader.total_tokens - ids) < 50
    elif what == "count":
        assert abs(int(done.stdout.split()[0]) - ids) < 50


NO_MEMORY = """
import resource, sys
from gptbpe.cli import main
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
@pytest.mark.parametrize("words", [["count"], ["encode", "-o", "ids"], ["shard", "-o", "data"]])
def test_too_little_memory_is_one_line(tok: Tokenizer, words: list[str], tmp_path: Path) -> None:
    """One pre-token of 256 MB cannot be merged in 1 GB: that is an error, not the end of the process."""
    with (tmp_path / "input.txt").open("wb") as file:
        file.write(b"\1" * 4096)  # text as far as anybody looks
        file.truncate(256 << 20)
    tok.save(tmp_path / "tokenizer.json")
    done = run(NO_MEMORY, *words, "input.txt", cwd=tmp_path)
    assert done.returncode == 2
    assert "bytes of memory could not be had" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "ids").exists()
    assert not (tmp_path / "data" / "manifest.json").exists()


# ---- Ctrl-C ----------------------------------------------------------------------------------------


INTERRUPTED = """
import signal, sys
from pathlib import Path
from gptbpe import Tokenizer, shard_files
signal.signal(signal.SIGINT, signal.default_int_handler)
what, path, tok = sys.argv[1], Path(sys.argv[2]), Tokenizer.load(sys.argv[3])
text = path.read_bytes()

def begun(*_):
    global begun
    begun = lambda *_: None
    print("begun", flush=True)

def texts():
    yield from [text] * 3000
    begun()

try:
    if what == "text":
        text = text * 60
        begun()
        tok.encode_to_numpy(text, disallowed_special=())
    elif what == "list":
        text = text * 60
        begun()
        tok.encode(text, disallowed_special=())
    elif what == "count":
        text = text * 60
        begun()
        tok.count(text, disallowed_special=())
    elif what == "batch":
        tok.encode_ragged(texts(), disallowed_special=(), threads=2)
    elif what == "one by one":
        tok.encode_batch(texts(), disallowed_special=(), threads=1)
    elif what == "files":
        for _ in tok.encode_files([path] * 3000):
            begun()
    elif what == "shards":
        shard_files([path] * 3000, tok, path.parent / "data", progress=lambda *_: begun())
    print("done")
except KeyboardInterrupt:
    while len(sys._current_frames()) > 1:  # threads that have done their work may still be ending
        pass
    print("interrupted")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT for one process")
@pytest.mark.parametrize("what", ["text", "list", "count", "batch", "one by one", "files", "shards"])
def test_ctrl_c_ends_any_call(tok: Tokenizer, what: str, tmp_path: Path) -> None:
    """Each call would take long, and says when it begins."""
    (tmp_path / "input.txt").write_bytes((LONG * 10 + b"<|endoftext|>") * 100)
    tok.save(tmp_path / "tokenizer.json")
    command = [sys.executable, "-c", INTERRUPTED, what, tmp_path / "input.txt", tmp_path / "tokenizer.json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate()
    assert (out, err, child.returncode) == ("interrupted\n", "", 0)
    names = [path.name for path in (tmp_path / "data").glob("*")] if what == "shards" else []
    assert "manifest.json" not in names
    assert not [name for name in names if ".tmp" in name]


INTERRUPTED_AT_EVERY_STEP = """
import sys
from gptbpe import Tokenizer, pipeline
path, tok = sys.argv[1], Tokenizer.load(sys.argv[2])

def interrupt_at(step):
    seen = 0
    def profile(frame, event, argument):
        # The interpreter looks for signals where a function begins and where one in C has returned.
        nonlocal seen
        if event in ("call", "c_return") and frame.f_code is not encode_all.__code__:
            seen += 1
            if seen == step:
                sys.setprofile(None)
                raise KeyboardInterrupt
    return profile

def encode_all(threads):
    tokens = 0
    if writing == "each":
        taken.clear()
        pipeline.each(
            tok._core, [path] * 4, taken.append, separator=None, batch_bytes=1, threads=threads,
        )
        return
    for group in pipeline.groups(tok._core, [path] * 4, separator=None, batch_bytes=1, threads=threads):
        tokens += sum(batch.tokens for batch in group)
        if writing:
            pipeline.Task(len, group).result()
    return tokens

taken = []
whole = [batch.take_arrays()[0].tolist() for batch in pipeline.encoded(
    tok._core, [path] * 4, separator=None, batch_bytes=1)]
for threads in (1, 2):
    for writing in (False, True, "each"):
        step = interrupted = 0
        while True:
            step += 1
            sys.setprofile(interrupt_at(step))
            try:
                encode_all(threads)
                sys.setprofile(None)
                break
            except KeyboardInterrupt:
                interrupted += 1
            ids = [batch.take_arrays()[0].tolist() for batch in taken]
            assert ids == whole[: len(ids)], "there is a hole, or one came twice"
            taken.clear()
        while len(sys._current_frames()) > 1:
            pass
        print(threads, writing, interrupted)
"""


def test_an_interruption_at_any_step_leaves_nobody_waiting(tok: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_bytes(b"a few words\n")
    tok.save(tmp_path / "tokenizer.json")
    done = run(INTERRUPTED_AT_EVERY_STEP, "input.txt", "tokenizer.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    interrupted = [int(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(interrupted) == 6
    assert min(interrupted) > 50


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_are_passed_on_in_their_order(tok: Tokenizer, tmp_path: Path, threads: int) -> None:
    (tmp_path / "input.txt").write_bytes(b"a few words\n" * 500)
    files = [tmp_path / "input.txt"] * 3

    def tokens(batch: EncodedBatch) -> list[int]:
        ids: list[int] = batch.take_arrays()[0].tolist()
        return ids

    expected = [tokens(batch) for batch in pipeline.encoded(tok._core, files, separator=None, batch_bytes=50)]
    passed: list[list[int]] = []
    pipeline.each(
        tok._core,
        files,
        lambda batch: passed.append(tokens(batch)),
        separator=None,
        batch_bytes=50,
        threads=threads,
    )
    assert passed == expected
    assert len(passed) > 300

    class FullError(Exception):
        pass

    def full(batch: EncodedBatch) -> None:
        passed.append(tokens(batch))
        if len(passed) == 100:
            raise FullError

    passed.clear()
    with pytest.raises(FullError):
        pipeline.each(tok._core, files, full, separator=None, batch_bytes=50, threads=threads)
    assert passed == expected[:100]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT for one process")
def test_ctrl_c_ends_waiting_for_a_pipe(tok: Tokenizer, tmp_path: Path) -> None:
    tok.save(tmp_path / "tokenizer.json")
    script = """
import sys
from gptbpe import sources
from gptbpe.cli import main
read = sources._blocks
def and_say_so(*arguments):
    print("reading", flush=True)
    yield from read(*arguments)
sources._blocks = and_say_so
sys.exit(main(["shard", "-", "-t", "tokenizer.json"]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"some text")
        child.stdin.flush()
        assert child.stdout.readline() == b"reading\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate()
    assert (child.returncode, err) == (130, b"gptbpe: interrupted\n")
    assert not (tmp_path / "data" / "manifest.json").exists()
