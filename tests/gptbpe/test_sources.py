"""Text readers and ``shard_files``: every kind of file, and what is said about those that cannot be read."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gptbpe import ShardReader, Tokenizer, errors, extras, json_lines, shard_files, sources
from gptbpe._core import WordCounter
from gptbpe.sources import documents, expand

EOT = "<|endoftext|>"


def read(path: Path, **options: Any) -> list[bytes]:
    return list(documents(path, **options))


# ---- plain text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"one", [b"one"]),
        (b"one\n<|endoftext|>\ntwo\n", [b"one\n", b"two\n"]),
        (b"one\r\n<|endoftext|>\r\ntwo", [b"one\r\n", b"two"]),
        (b"one\n<|endoftext|>\n", [b"one\n"]),
        (b"one\n<|endoftext|>", [b"one\n"]),
        (b"<|endoftext|>\none", [b"", b"one"]),
        (b"<|endoftext|>\n<|endoftext|>\n", [b"", b""]),
        # Within a line it cuts as well, but line breaks are text then.
        (b"one<|endoftext|>two", [b"one", b"two"]),
        (b"one<|endoftext|>\ntwo", [b"one", b"\ntwo"]),
        (b"one\n<|endoftext|>two", [b"one\n", b"two"]),
        (b"\xff\xfe<|endoftext|>\x80", [b"\xff\xfe", b"\x80"]),
        (b"<|endoftext|", [b"<|endoftext|"]),
    ],
)
@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_text_is_cut_at_separators(
    text: bytes, expected: list[bytes], block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BLOCK_BYTES", block)
    path = tmp_path / "input.txt"
    path.write_bytes(text)
    assert read(path, separator=EOT) == expected
    assert read(path, separator=None) == ([text] if text else [])


@given(
    parts=st.lists(st.sampled_from([b"ab", b"a", b"\n", b"\r\n", b"x", b"abab"]), max_size=12),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
)
def test_the_cuts_do_not_depend_on_the_blocks(parts: list[bytes], cuts: list[int]) -> None:
    text = b"".join(parts)
    blocks, at = [], 0
    while at < len(text):
        step = cuts[len(blocks) % len(cuts)]
        blocks.append(text[at : at + step])
        at += step
    assert list(sources._split(blocks, b"ab")) == list(sources._split([text] if text else [], b"ab"))


def test_an_empty_separator_is_refused(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_bytes(b"x")
    with pytest.raises(ValueError, match="pass None"):
        read(tmp_path / "input.txt", separator="")


def test_standard_input_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"one\n<|endoftext|>\ntwo"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert list(documents("-", separator=EOT)) == [b"one\n", b"two"]


# ---- compressed ------------------------------------------------------------------------------------


def compress(kind: str, data: bytes) -> bytes:
    return gzip.compress(data) if kind == ".gz" else zstandard.compress(data)


@pytest.mark.parametrize("kind", [".gz", ".zst"])
def test_compressed_files_are_read(kind: str, tmp_path: Path) -> None:
    text = bytes(range(256)) * 20_000
    path = tmp_path / f"input.txt{kind}"
    path.write_bytes(compress(kind, text))
    assert read(path) == [text]
    path.write_bytes(compress(kind, b"one ") + compress(kind, b"") + compress(kind, b"two"))
    assert read(path) == [b"one two"], "several parts after one another are one file"
    lines = tmp_path / f"input.jsonl{kind}"
    lines.write_bytes(compress(kind, b'{"text": "a"}\n{"text": "b"}\n'))
    assert read(lines) == [b"a", b"b"]


@pytest.mark.parametrize("kind", [".gz", ".zst"])
def test_cut_and_damaged_files_are_noticed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"input.txt{kind}"
    good = compress(kind, b"some text that is long enough " * 1000)
    for length in range(1, len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(errors.TextError, match=r"input\.txt"):
            read(path)
    path.write_bytes(b"this is not compressed at all")
    with pytest.raises(errors.TextError, match="damaged"):
        read(path)


@pytest.mark.parametrize("kind", [".gz", ".zst"])
def test_a_block_may_hold_a_thousand_times_as_much(kind: str, tmp_path: Path) -> None:
    text = b"low " * (12 << 20)
    path = tmp_path / f"input.txt{kind}"
    path.write_bytes(compress(kind, text) + compress(kind, b"end"))
    assert path.stat().st_size < 1 << 20
    counter = WordCounter("gpt2", [], 1)
    tracemalloc.start()
    try:
        sources.fill(path, counter)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counter.counts() == [(b" end", 1), (b" low", (12 << 20) - 1), (b"low", 1)]
    if kind == ".gz":
        assert peak < 8 << 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK_BYTES", 1000)
        patch.setattr(sources, "ZSTANDARD_BYTES", 7)
        text = bytes(range(256)) * 40
        path.write_bytes((compress(kind, text) + compress(kind, b"")) * 20)
        assert read(path) == [text * 20]


# ---- JSON lines ------------------------------------------------------------------------------------


def test_json_lines_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    texts = ["one", "", "two\nlines", "déjà 你好 🙂", EOT]
    lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate(texts)]
    path.write_text("\ufeff" + "\n\n".join(lines) + "\n   \n", encoding="utf-8")
    assert read(path, separator=EOT) == [text.encode() for text in texts], "they are not cut"
    path.write_bytes(b'{"text": "ab\xff\xfec"}')
    assert read(path) == [b"ab\xff\xfec"], "what is not UTF-8 stays as it is"
    path.write_text('{"body": "x"}')
    assert read(path, text_field="body") == [b"x"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no JSON object"),
        ("[1]", "found list"),
        ('"text"', "found str"),
        ('{"body": 1, "id": 2}', "there are body, id"),
        ("{}", "there are none"),
        ('{"text": null}', "is NoneType"),
        ('{"text": 5}', "is int"),
        (r'{"text": "a\ud800"}', r"U\+D800 at character 1"),
        ("[" * 100_000, "no JSON object"),
    ],
)
def test_bad_lines_are_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    path.write_text('{"text": "good"}\n\n' + line + "\n")
    with pytest.raises(errors.TextError, match=rf"input\.jsonl, line 3: .*{message}"):
        read(path)


PIECES = [
    *[b"a", rb"\n", rb"\"", rb"\\", rb"\u0041", rb"\ud83d\ude00", "é你😀".encode(), b"bcdefbcdefbcdef"] * 4,
    *[
        rb"\ud83d",
        rb"\ude00",
        rb"\udc80",
        b"\xff",
        b"\x80\x80\x80\x80",
        b"\xe4\xbd",
        b"\\",
        rb"\x",
        rb"\u12",
        b"\x01",
    ],
]
SHAPES = [
    b'{"text": "%s"}',
    b'{"a": "%s", "text":"x%s"}',
    b'{"text":"%s","text":"%s"}',
    b'{"%s":1,"text":"%s"}',
    b'{"text":["%s"]}',
    b'{"text": "%s}',
    b'{"text":"%s" "%s"}',
    b'["%s"]',
    b'"%s"',
]


@given(data=st.data(), part=st.integers(12, 17))
def test_long_lines_mean_what_short_ones_mean(data: st.DataObject, part: int) -> None:
    line = data.draw(st.sampled_from(SHAPES))
    while b"%s" in line:
        line = line.replace(b"%s", b"".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=12))), 1)

    def read_line() -> list[bytes] | None:
        try:
            return list(json_lines.documents([line], "input.jsonl", "text"))
        except errors.TextError:
            return None

    expected = read_line()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "LONG_LINE", 0)
        patch.setattr(json_lines, "LONG_STRING", 8)
        patch.setattr(json_lines, "PART_BYTES", part)
        assert read_line() == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"' + "a" * 9_000_000 + r'\ud800"', r"lone surrogate U\+D800 at character 9000000"),
        ('"' + "a" * 9_000_000 + '\t"', "no JSON object on one line .Invalid control character"),
        ('["' + "a" * 9_000_000 + '"]', "is list, expected a string"),
        ('"' + "a" * 9_000_000, "no JSON object on one line .Unterminated string"),
        ('"' + "\\" * 9_000_001 + '"', "no JSON object on one line"),
    ],
)
def test_bad_long_lines_are_named(value: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    path.write_text('{"text": "good"}\n{"text": ' + value + "}\n")
    with pytest.raises(errors.TextError, match=rf"input\.jsonl, line 2: .*{message}"):
        read(path)


def test_a_long_line_needs_three_times_its_size(tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    text = ("The quick brown fox\n🙂 naïve 你好 " * 300_000)[:9_000_000]
    path.write_text(json.dumps({"id": 1, "text": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    tracemalloc.start()
    try:
        (found,) = read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == text.encode()
    assert peak < 3.4 * path.stat().st_size


def test_too_long_a_line_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "LONGEST_LINE", 3 << 20)
    path = tmp_path / "input.jsonl"
    line = json.dumps({"text": "a" * (2 << 20)}) + "\n"
    path.write_text(line * 3)
    assert len(read(path)) == 3
    for end in ("\n", ""):
        path.write_text(line + json.dumps({"text": "a" * (6 << 20)}) + end)
        done: list[int] = []
        with pytest.raises(errors.TextError, match=r"input\.jsonl, line 2: longer than 3,145,728 .*\.txt"):
            read(path, report=done.append)
        assert sum(done) < 7 << 20


# ---- Parquet ---------------------------------------------------------------------------------------


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "input.parquet"
    texts = [f"text {i} 🙂" for i in range(3000)]
    for kind in (pyarrow.string(), pyarrow.large_string(), pyarrow.binary()):
        values = pyarrow.array([text.encode() for text in texts]).cast(kind)
        parquet.write_table(pyarrow.table({"id": range(3000), "text": values}), path, row_group_size=700)
        reports: list[int] = []
        assert read(path, report=reports.append) == [text.encode() for text in texts]
        assert sum(reports) == path.stat().st_size
    raw = pyarrow.array([b"\xff"]).view(pyarrow.binary()).cast(pyarrow.string(), safe=False)
    parquet.write_table(pyarrow.table({"text": raw}), path)
    assert read(path) == [b"\xff"]
    with pytest.raises(errors.TextError, match="there are text"):
        read(path, text_field="body")
    parquet.write_table(pyarrow.table({"text": ["a", None]}), path)
    with pytest.raises(errors.TextError, match="row 2"):
        read(path)
    parquet.write_table(pyarrow.table({"text": [1]}), path)
    with pytest.raises(errors.TextError, match="int64"):
        read(path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(errors.TextError, match="no Parquet"):
        read(path)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.MissingExtraError, match=re.escape(extras.install("parquet"))):
        read(tmp_path / "input.parquet")


# ---- which files -----------------------------------------------------------------------------------


def test_folders_and_patterns_become_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.jsonl.gz", "sub/c.parquet", "notes.pdf", ".hidden.txt", "out/manifest.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def names(inputs: Any) -> list[str]:
        return [Path(file).name for file in expand(inputs, besides=tmp_path / "out")]

    with pytest.warns(UserWarning, match="left out notes"):
        assert names(tmp_path) == ["a.jsonl.gz", "b.txt", "c.parquet"]
    assert names(str(tmp_path / "*.txt")) == ["b.txt"]
    assert names(str(tmp_path / "**" / "*.parquet")) == ["c.parquet"]
    assert names([tmp_path / "notes.pdf", tmp_path / "b.txt"]) == ["notes.pdf", "b.txt"]
    assert expand("-") == ["-"]
    (tmp_path / "[odd].txt").touch()
    assert names(tmp_path / "[odd].txt") == ["[odd].txt"], "a file of that name comes before the pattern"


@pytest.mark.parametrize("name", ["nothing.txt", "*.nothing", "empty"])
def test_what_is_not_there_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=name.lstrip("*")):
        expand(tmp_path / name)


# ---- all the way -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3, None])
def test_shards_hold_what_the_tokenizer_says(tok: Tokenizer, threads: int | None, tmp_path: Path) -> None:
    texts = ["the best of times", "", "worst 🙂", "naß; 你好，世界!", "<|endoftext|>"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "b.txt").write_bytes(b"one \xff\n<|endoftext|>\ntwo")
    reader = shard_files([tmp_path / "a.jsonl", tmp_path / "b.txt"], tok, tmp_path / "data", threads=threads)
    parts = [text.encode() for text in texts] + [b"one \xff\n", b"two"]
    expected: list[int] = []
    ends = []
    for part in parts:
        expected += [*tok.encode_ordinary(part), tok.special_tokens[EOT]]
        ends.append(len(expected))
    assert reader.tokens(0).tolist() == expected
    assert reader.documents(0).tolist() == ends
    assert reader.text_bytes == sum(map(len, parts))
    assert reader.manifest["documents"] == len(parts)
    assert reader.manifest["eos"] == tok.special_tokens[EOT]
    assert reader.tokenizer() == tok


def test_separators_can_stand_in_front(tok: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("one<|endoftext|>two")
    reader = shard_files(tmp_path / "input.txt", tok, tmp_path / "data", separator_at="start")
    assert tok.decode(reader.tokens(0)) == "<|endoftext|>one<|endoftext|>two"
    with pytest.raises(errors.ShardError, match="separator_at"):
        shard_files(tmp_path / "input.txt", tok, tmp_path / "data", separator_at="middle")


def test_a_tokenizer_without_the_separator_takes_one_document(tmp_path: Path) -> None:
    plain = Tokenizer.train(b"one two one two", vocab_size=258, special_tokens=[])
    (tmp_path / "one.txt").write_text("one two")
    reader = shard_files(tmp_path / "one.txt", plain, tmp_path / "one")
    assert plain.decode(reader.tokens(0)) == "one two"
    (tmp_path / "two.txt").write_text("one<|endoftext|>two")
    with pytest.raises(errors.TokenizerError, match="no special token"):
        shard_files(tmp_path / "two.txt", plain, tmp_path / "two")
    reader = shard_files([tmp_path / "one.txt"] * 2, plain, tmp_path / "two", separator=None)
    assert plain.decode(reader.tokens(0)) == "one twoone two"


def test_a_bad_line_leaves_no_dataset(tok: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "input.jsonl").write_text('{"text": "good"}\n{"text": 5}\n')
    with pytest.raises(errors.TextError, match=r"input\.jsonl, line 2"):
        shard_files(tmp_path / "input.jsonl", tok, tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()
    with pytest.raises(FileNotFoundError):
        shard_files(tmp_path / "nothing.txt", tok, tmp_path / "other")
    assert not (tmp_path / "other").exists(), "found out before anything is made"


def test_progress_counts_bytes_of_files(tok: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 1000)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"y" * 1000))
    calls: list[tuple[str, int, int | None]] = []
    shard_files(tmp_path / "*.txt*", tok, tmp_path / "data", progress=lambda *call: calls.append(call))
    total = 1000 + (tmp_path / "b.txt.gz").stat().st_size
    assert calls[-1] == ("sharding", total, total)


def test_the_same_bytes_for_any_batches_and_threads(
    tok: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "input.txt").write_text("some words\n<|endoftext|>\n" * 500)
    found = set()
    for batch_bytes, threads in ((16 << 20, 1), (100, 2), (1, 1)):
        monkeypatch.setattr("gptbpe.shards.build.BATCH_BYTES", batch_bytes)
        folder = tmp_path / f"data-{batch_bytes}"
        reader = shard_files(tmp_path / "input.txt", tok, folder, shard_tokens=700, threads=threads)
        found.add(reader.fingerprint)
    assert len(found) == 1


def test_memory_does_not_grow_with_the_input(tok: Tokenizer, tmp_path: Path) -> None:
    with (tmp_path / "input.txt").open("w") as file:
        for _ in range(10):
            file.write(("the worst of times\n" * 50 + "<|endoftext|>\n") * 2000)
    size = (tmp_path / "input.txt").stat().st_size
    tracemalloc.start()
    try:
        count = sum(1 for _ in documents(tmp_path / "input.txt", separator=EOT))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < size / 4


def test_real_text_survives(tok: Tokenizer, corpus: Any, tmp_path: Path) -> None:
    text = corpus("enwiki_valid_5M", 300_000)
    (tmp_path / "input.txt").write_bytes(text)
    reader = shard_files(tmp_path / "input.txt", tok, tmp_path / "data", separator=None)
    assert tok.decode_bytes(reader.tokens(0)) == text
    assert np.array_equal(ShardReader(tmp_path / "data").tokens(0), reader.tokens(0))


# ---- the command line ------------------------------------------------------------------------------


def command(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    from gptbpe.cli import main

    code = main([str(word) for word in words])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, out, err


def test_the_commands_go_the_whole_way(
    tok: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tok.save("tokenizer.json")
    Path("input.txt").write_text("one\n<|endoftext|>\ntwo\n<|endoftext|>\n" * 100)
    code, out, err = command(capfd, "shard", "input.txt", "-o", "data", "--shard-tokens", 100)
    assert (code, out) == (0, "")
    assert "200 documents" in err
    assert "next: python -m gptmodel.train --shards data" in err
    assert command(capfd, "shard", "input.txt", "-o", "data", "--shard-tokens", 100)[0] == 0
    code, out, err = command(capfd, "shard", "input.txt", "-o", "data")
    assert code == 2
    assert "--force" in err
    code, out, _ = command(capfd, "shard", "input.txt", "-o", "data", "--force", "--json")
    summary = json.loads(out)
    assert (code, summary["documents"], summary["shards"]) == (0, 200, 1)

    code, out, err = command(capfd, "verify", "data", "--tokenizer", "tokenizer.json")
    assert (code, out) == (0, "")
    assert "all is well" in err
    code, out, _ = command(capfd, "inspect", "--document", 3)
    assert (code, out) == (0, "two\n<|endoftext|>\n")
    code, _, err = command(capfd, "inspect", "data", "--document", 200)
    assert code == 2
    assert "200 documents, numbered from 0" in err
    code, out, _ = command(capfd, "inspect", "data", "--json")
    assert json.loads(out)["tokens"] == summary["tokens"]
    code, out, _ = command(capfd, "inspect", "tokenizer.json")
    assert f"{tok.vocab_size:,}" in out

    tok.shrink(300).save("other.json")
    assert command(capfd, "verify", "data", "-t", "other.json")[0] == 1
    for name in ("shard-00000.bin", "tokenizer.json"):
        path = Path("data") / name
        damaged = bytearray(path.read_bytes())
        damaged[-5] ^= 1
        path.write_bytes(damaged)
    code, out, err = command(capfd, "verify", "data")
    assert code == 1
    assert len(out.splitlines()) == 2, "every problem is listed, not only the first"
    assert "2 problems" in err
    code, out, _ = command(capfd, "verify", "data", "nothing", "--json")
    assert code == 1
    assert [json.loads(line)["ok"] for line in out.splitlines()] == [False, False]


def test_standard_input_becomes_shards(
    tok: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tok.save("tokenizer.json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert command(capfd, "shard", "-")[0] == 0
    assert tok.decode(ShardReader("data").tokens(0)) == "from a pipe<|endoftext|>"
