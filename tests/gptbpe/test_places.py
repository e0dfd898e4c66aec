"""Reading and writing at places of files, on systems that have no calls for it."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gptbpe import ShardReader, ShardWriter, cluster
from gptbpe.io import places
from gptbpe.shards.formats import read_datatrove, write_datatrove

CALLS = ("pread", "preadv", "pwrite", "link")


@pytest.fixture(params=["all calls", "no calls"])
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with the calls of this system, and without them, as on Windows."""
    if request.param == "no calls":
        for name in CALLS:
            monkeypatch.delattr(os, name, raising=False)


@pytest.mark.usefixtures("calls")
def test_reading_and_writing_at_places(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(100_000)
    path = tmp_path / "file"
    path.write_bytes(bytes(len(content)))
    with path.open("r+b", buffering=0) as opened, ThreadPoolExecutor(4) as pool:
        file = opened.fileno()

        def write(start: int) -> int:
            return places.write_at(file, content[start : start + 1000], start)

        def read(start: int) -> bytes:
            return places.read_at(file, 1000, start)

        starts = range(0, len(content), 1000)
        assert list(pool.map(write, starts)) == [1000] * len(starts)
        assert b"".join(pool.map(read, starts)) == content
        assert places.read_at(file, 10, len(content) - 3) == content[-3:]
        assert places.read_at(file, 10, len(content)) == b""
        buffer = bytearray(20)
        assert places.read_into(file, memoryview(buffer), 50) == 20
        assert buffer == content[50:70]
        assert places.read_into(file, memoryview(buffer), len(content)) == 0


@pytest.mark.usefixtures("calls")
def test_other_names(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"content")
    places.link_or_copy(first, second)
    assert first.read_bytes() == second.read_bytes() == b"content"
    with pytest.raises(FileExistsError):
        places.link_or_copy(first, second)
    places.publish(first, tmp_path / "third")
    assert (tmp_path / "third").read_bytes() == b"content"
    with pytest.raises(FileNotFoundError):
        places.publish(tmp_path / "none", tmp_path / "fourth")


def test_file_systems_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refused)
    (tmp_path / "first").write_bytes(b"content")
    code = errno.EPERM
    places.link_or_copy(tmp_path / "first", tmp_path / "second")
    assert (tmp_path / "second").read_bytes() == b"content"
    code = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        places.link_or_copy(tmp_path / "first", tmp_path / "third")


@pytest.mark.usefixtures("calls")
def test_what_is_built_on_it(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "data", vocab_size=1000, eos=999) as writer:
        for number in range(50):
            writer.write(range(number))
    reader = ShardReader(tmp_path / "data")
    paths = write_datatrove(reader, tmp_path / "other")
    assert sum(len(found.ids) for found in read_datatrove(paths)) == reader.total_tokens
    (tmp_path / "text.jsonl").write_text('{"text": "a"}\n' * 100)
    items = cluster.divide([tmp_path / "text.jsonl"], 3)
    assert [len(item) for item in items] == [1, 1, 1]
