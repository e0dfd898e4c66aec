"""Shards on disk: what other programs and we read in them, what can be written, and what damage does.

The exhaustive checks (every truncation, every flipped bit) are the Rust tests' (``rust/core/src/shard``).
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from shard_folders import contents, write

from gptbpe import Sampler, ShardReader, ShardWriter, Tokenizer, errors, shard_files
from gptbpe.shards import Shard

DATA = Path(__file__).parents[1] / "data"
Ids = npt.NDArray[Any]


# ---- other programs --------------------------------------------------------------------------------


def read_as_llm_c(path: Path) -> Ids:
    """The checks and steps of llm.c's loader: header words, exact size, tokens after 1,024 bytes."""
    data = path.read_bytes()
    header = np.frombuffer(data[:1024], "<i4")
    width = {(20240520, 1): 2, (20240801, 7): 4}[int(header[0]), int(header[1])]
    assert len(data) == 1024 + int(header[2]) * width
    return np.frombuffer(data[1024:], f"<u{width}")


def read_as_modded_nanogpt(path: Path) -> Ids:
    """Its loader takes the count from the header and reads straight into a buffer of uint16."""
    header = np.fromfile(path, np.int32, 256)
    assert header[0] == 20240520
    assert header[1] == 1
    tokens = np.empty(int(header[2]), np.uint16)
    with path.open("rb", buffering=0) as file:
        file.seek(256 * 4)
        assert file.readinto(tokens.data) == 2 * len(tokens)
    return tokens


def read_as_nanogpt(path: Path) -> Ids:
    """It maps an array of uint16; here the header is passed over."""
    return np.memmap(path, np.uint16, "r", offset=1024)


@pytest.mark.parametrize("read", [read_as_llm_c, read_as_modded_nanogpt, read_as_nanogpt])
def test_other_programs_read_our_files(read: Callable[[Path], Ids], tmp_path: Path) -> None:
    expected = write(tmp_path)
    found = [read(shard.path) for shard in ShardReader(tmp_path).shards]
    assert len(found) > 2
    assert np.concatenate(found).tolist() == expected


def test_llm_c_reads_our_wide_files(tmp_path: Path) -> None:
    expected = write(tmp_path, vocab_size=100_000)
    found = [read_as_llm_c(shard.path) for shard in ShardReader(tmp_path).shards]
    assert np.concatenate(found).tolist() == expected


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_the_type_follows_the_vocabulary(vocab_size: int, dtype: str, tmp_path: Path) -> None:
    with ShardWriter(tmp_path, vocab_size=vocab_size) as writer:
        writer.write([vocab_size - 1])
    reader = ShardReader(tmp_path)
    assert reader.dtype == dtype
    assert reader.tokens(0).tolist() == [vocab_size - 1]


def test_we_read_files_of_other_programs(tmp_path: Path) -> None:
    header = np.zeros(256, np.int32)
    ids = np.arange(1000, dtype=np.uint16)
    header[:3] = 20240520, 1, len(ids)
    for number in (1, 2):
        (tmp_path / f"fineweb_train_{number:06}.bin").write_bytes(header.tobytes() + ids.tobytes())
    reader = ShardReader(tmp_path, vocab_size=1000)
    assert (reader.total_tokens, reader.vocab_size, reader.tokenizer_fingerprint) == (2000, 1000, "")
    assert np.array_equal(reader.tokens(1), ids)
    with pytest.raises(errors.ShardError, match="where its documents end"):
        reader.documents(0)
    (tmp_path / "train.bin").write_bytes(ids.tobytes())
    raw = ShardReader.open_raw(tmp_path / "train.bin", "uint16", 1000)
    assert np.array_equal(raw.tokens(0), ids)
    assert np.array_equal(pickle.loads(pickle.dumps(raw)).tokens(0), ids)
    with pytest.raises(errors.ShardFormatError, match="open_raw"):
        ShardReader(tmp_path / "train.bin")


@pytest.mark.parametrize("name", ["narrow", "wide"])
def test_shards_of_the_first_version_are_read_for_ever(name: str) -> None:
    reader = ShardReader(DATA / "shards-1" / name, verify="full")
    last = {"narrow": 299, "wide": 69_999}[name]
    assert reader.dtype == {"narrow": "uint16", "wide": "uint32"}[name]
    assert reader.tokens(0).tolist() == [0, 1, 2, last, last, last - 1, last]
    assert reader.documents(0).tolist() == [4, 5, 7]
    assert reader.text_bytes == 11
    assert reader.manifest["options"] == {"note": "golden"}


@pytest.mark.parametrize("name", ["narrow", "wide"])
def test_shards_of_the_first_version_are_written_for_ever(name: str, tmp_path: Path) -> None:
    last = {"narrow": 299, "wide": 69_999}[name]
    with ShardWriter(tmp_path, vocab_size=last + 1, eos=last, options={"note": "golden"}) as writer:
        writer.write([0, 1, 2], 7)
        writer.write([])
        writer.write([last - 1], 4)
    assert contents(tmp_path) == contents(DATA / "shards-1" / name)


# ---- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("io", ["mmap", "pread"])
@pytest.mark.parametrize("verify", ["open", "lazy", "full"])
def test_what_is_written_is_read(io: Any, verify: Any, tmp_path: Path) -> None:
    expected = write(tmp_path)
    reader = ShardReader(tmp_path, io=io, verify=verify)
    parts = [reader.tokens(number) for number in range(len(reader.shards))]
    assert np.concatenate(parts).tolist() == expected
    assert reader.total_tokens == len(expected)
    assert reader.text_bytes == 2 * (len(expected) - 300)
    assert reader.tokens(1, 10, 15).tolist() == parts[1][10:15].tolist()
    assert reader.tokens(0, 7, 7).tolist() == []
    assert not parts[0].flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        parts[0][0] = 1
    single = ShardReader(reader.shards[1].path, io=io, verify=verify)
    assert single.tokens(0).tolist() == parts[1].tolist()
    assert single.shards == [Shard(reader.shards[1].path, len(parts[1]))]


def test_tokens_outlive_their_reader_and_their_file(tmp_path: Path) -> None:
    expected = write(tmp_path)
    reader = ShardReader(tmp_path)
    view = reader.tokens(0)
    copied = view.tolist()
    for path in tmp_path.iterdir():
        path.unlink()
    del reader
    gc.collect()
    assert view.tolist() == copied == expected[: len(copied)]
    assert not view.flags.owndata


@pytest.mark.parametrize(
    ("shard", "start", "stop"), [(99, 0, 1), (0, 5, 4), (0, 0, 10**6), (0, 10**18, 10**18)]
)
def test_ranges_outside_are_refused(shard: int, start: int, stop: int, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(errors.ShardError):
        ShardReader(tmp_path).tokens(shard, start, stop)


@pytest.mark.parametrize("arguments", [{"verify": "some"}, {"io": "magic"}])
def test_unknown_options_are_refused(arguments: Any, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(errors.ShardError, match="expected"):
        ShardReader(tmp_path, **arguments)


def test_what_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ShardReader(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        ShardReader(tmp_path)
    with pytest.raises(FileNotFoundError):
        ShardReader.open_raw(tmp_path / "nothing", "uint16", 10)


def test_damage_has_types_and_values(tmp_path: Path) -> None:
    write(tmp_path)
    path = ShardReader(tmp_path).shards[1].path
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    with pytest.raises(errors.ShardTruncatedError) as cut:
        ShardReader(tmp_path).tokens(1)
    assert (cut.value.path, cut.value.expected, cut.value.found) == (path, len(good), len(good) - 1)
    path.write_bytes(good[:1030] + bytes([good[1030] ^ 1]) + good[1031:])
    with pytest.raises(errors.ShardChecksumError, match="block 0") as damaged:
        ShardReader(tmp_path).tokens(1)
    assert (damaged.value.path, damaged.value.offset) == (path, 1024)
    assert str(path) in str(damaged.value)
    ShardReader(tmp_path, verify="open").tokens(1)
    ShardReader(tmp_path).tokens(0)
    with pytest.raises(errors.ShardChecksumError):
        ShardReader(tmp_path, verify="full")
    with pytest.raises(errors.ShardChecksumError):
        ShardReader(tmp_path).check(1)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(errors.ShardFormatError, match="not finished"):
        ShardReader(tmp_path)


@pytest.mark.parametrize("io", ["mmap", "pread"])
def test_reading_survives_a_cut_under_it(io: str, tmp_path: Path) -> None:
    """In a process of its own, which would die of SIGBUS if the tokens came from a map."""
    write(tmp_path)
    script = """
import os, sys
from gptbpe import ShardReader
from gptbpe.errors import ShardTruncatedError
reader = ShardReader(sys.argv[1], io=sys.argv[2], verify="open")
before = reader.tokens(0)
expected = before.tolist()
os.truncate(reader.shards[0].path, 1500)
try:
    reader.tokens(0)
except ShardTruncatedError as error:
    print(error.found, before.tolist() == expected)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path, io], capture_output=True, check=True)
    assert done.stdout == b"1500 True\n"


# ---- tokenizers ------------------------------------------------------------------------------------


def test_the_tokenizer_travels_with_the_shards(tok: Tokenizer, tmp_path: Path) -> None:
    with ShardWriter(tmp_path, tokenizer=tok) as writer:
        writer.write(tok.encode("the worst"), 9)
    reader = ShardReader(tmp_path)
    stored = reader.tokenizer()
    assert stored == tok
    assert reader.vocab_size == tok.vocab_size
    assert reader.tokenizer_fingerprint == tok.fingerprint
    assert tok.decode(reader.tokens(0)) == "the worst"
    reader.expect_tokenizer(tok)
    other = tok.shrink(300)
    with pytest.raises(errors.ShardMismatchError) as mismatch:
        reader.expect_tokenizer(other)
    assert tok.fingerprint in str(mismatch.value)
    assert other.fingerprint in str(mismatch.value)
    (tmp_path / "tokenizer.json").write_bytes(other.to_bytes())
    with pytest.raises(errors.ShardChecksumError, match=r"tokenizer\.json"):
        reader.tokenizer()
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError):
        reader.tokenizer()


# ---- writing ---------------------------------------------------------------------------------------


def test_every_kind_of_ids_is_written(tmp_path: Path) -> None:
    kinds = [[1, 2], (3,), range(4, 6), np.array([6], np.uint16), np.array([7], np.int64), iter([8])]
    with ShardWriter(tmp_path, vocab_size=10) as writer:
        for kind in kinds:
            writer.write(kind)
        writer.write_ragged(np.array([1, 2, 3, 4]), np.array([0, 3, 3, 4]))
    reader = ShardReader(tmp_path)
    assert reader.tokens(0).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]
    assert reader.documents(0).tolist() == [2, 3, 5, 6, 7, 8, 11, 11, 12]


@pytest.mark.parametrize("bad", [10, -1, 2**32, 1.5, "x", None])
def test_ids_outside_the_vocabulary_are_not_written(bad: Any, tmp_path: Path) -> None:
    with ShardWriter(tmp_path, vocab_size=10) as writer:
        writer.write([1])
        with pytest.raises(errors.UnknownTokenError) as error:
            writer.write([5, bad, 6])
        assert error.value.index == 1
        writer.write([2])
    assert ShardReader(tmp_path).tokens(0).tolist() == [1, 2]


@pytest.mark.parametrize(
    "offsets", [[0, 5], [0, 2, 1], [-1, 2], [3, 2], [0, 2], [1, 3], [0, 2, 1, 3], [], [3]]
)
def test_impossible_offsets_are_refused(offsets: list[int], tmp_path: Path) -> None:
    """A batch is checked whole before its first document is written."""
    with ShardWriter(tmp_path, vocab_size=10) as writer:
        writer.write([7])
        with pytest.raises(errors.ShardError):
            writer.write_ragged(np.array([1, 2, 3]), np.array(offsets))
        with pytest.raises(errors.UnknownTokenError):
            writer.write_ragged(np.array([1, 2, 10]), np.array([0, 2, 3]))
        writer.write([8])
    assert ShardReader(tmp_path).tokens(0).tolist() == [7, 8]


def test_an_id_that_would_be_a_negative_target_is_refused(tmp_path: Path) -> None:
    """Of files that state no vocabulary: as int32 it would be -1, which no loss counts."""
    header = np.zeros(256, np.int32)
    header[:3] = 20240801, 7, 4
    for bad in (2**32 - 1, 2**31):
        ids = np.array([1, 2, bad, 3], np.uint32)
        (tmp_path / "train.bin").write_bytes(header.tobytes() + ids.tobytes())
        reader = ShardReader(tmp_path)
        assert reader.vocab_size == 2**31
        with pytest.raises(errors.ShardChecksumError, match=str(bad)):
            Sampler(reader, 3).batch(0, 1)
        with pytest.raises(errors.ShardChecksumError, match=str(bad)):
            reader.tokens(0)
        assert reader.tokens(0, 0, 2).tolist() == [1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_of_any_bytes(tok: Tokenizer, tmp_path: Path) -> None:
    names = [b"caf\xe9.txt", b"new\nline.txt", b"-leading.txt", b"n" * 251 + b".txt", "é.txt".encode()]
    for name in names:
        path = tmp_path / os.fsdecode(name)
        path.write_text("low lower")
        folder = tmp_path / os.fsdecode(b"of-" + name[:200])
        reader = shard_files(path, tok, folder)
        assert tok.decode(reader.tokens(0)).startswith("low lower")
        assert ShardReader(folder, verify="full").total_tokens == reader.total_tokens
        if len(name) < 200:
            tok.save(path.with_suffix(".json"))
            assert Tokenizer.load(path.with_suffix(".json")) == tok
    manifest = json.loads((tmp_path / os.fsdecode(b"of-" + names[0]) / "manifest.json").read_text())
    assert manifest["options"]["inputs"] == r"caf\xe9.txt"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_beside_reading_threads_reads(tmp_path: Path) -> None:
    """Nothing in a reader is locked at the moment of a fork, so a child never waits for a thread."""
    write(tmp_path)
    script = """
import os, sys, threading
from gptbpe import Sampler, ShardReader
stop = threading.Event()

def read():
    while not stop.is_set():
        sampler = Sampler(ShardReader(sys.argv[1], verify="lazy"), 16)
        sampler.reader.tokens(0)
        sampler.batch(0, 8)

reader = ShardReader(sys.argv[1])
expected = reader.tokens(1).tolist()
threads = [threading.Thread(target=read) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(60):
    child = os.fork()
    if child == 0:
        same = reader.tokens(1).tolist() == expected
        os._exit(0 if same and len(ShardReader(sys.argv[1]).tokens(0)) else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, tmp_path], check=True)


# ---- the files themselves ---------------------------------------------------------------------------


def test_the_manifest_can_be_checked_with_standard_tools(tmp_path: Path) -> None:
    import hashlib

    write(tmp_path)
    data = (tmp_path / "manifest.json").read_bytes()
    assert (
        hashlib.sha256(data[:-83]).hexdigest()
        == json.loads(data)["digest"]
        == ShardReader(tmp_path).fingerprint
    )


@pytest.mark.parametrize("content", [b"a text of somebody's", bytes(range(256)) * 5])
def test_a_file_that_is_none_of_ours_is_not_called_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "input.txt").write_bytes(content)
    for opened in (ShardReader, lambda path: Sampler(path, 8)):
        with pytest.raises(
            errors.ShardFormatError, match=r"input\.txt is no token file; gptbpe shard makes shards"
        ) as failure:
            opened(tmp_path / "input.txt")
        assert "delete" not in str(failure.value)
