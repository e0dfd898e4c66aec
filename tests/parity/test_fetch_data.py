"""Fetching the data of the comparisons, from a server on this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fetch_data
import pytest
from fetch_data import FetchError, Source

BODY = b"It was the best of times, it was the worst of times.\n" * 100


class Handler(BaseHTTPRequestHandler):
    """``/right`` is the file; the other paths answer in the ways that go wrong."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = {"/wrong": BODY[::-1], "/longer": BODY + b"x"}.get(self.path, BODY)
        self.send_response(404 if self.path == "/absent" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if self.path == "/cut" else body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Return the address of a server and the paths that it was asked for."""
    handler = type("Recorded", (Handler,), {"asked": []})
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}", handler.asked  # type: ignore[attr-defined]
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def source(url: str, path: str = "text/x.txt") -> Source:
    return Source(path, url, "MIT", len(BODY), sha256(BODY).hexdigest())


def test_a_file_is_fetched_once(server: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = server
    assert fetch_data.fetch(source(f"{address}/right"), tmp_path)
    assert (tmp_path / "text/x.txt").read_bytes() == BODY
    assert not fetch_data.fetch(source(f"{address}/right"), tmp_path)
    assert asked == ["/right"]
    assert [path.name for path in (tmp_path / "text").iterdir()] == ["x.txt"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/wrong", "is not the file that the tests know: expected 5,300 bytes with sha256"),
        ("/longer", "is not the file that the tests know"),
        ("/cut", "1,000 of 5,300 bytes came; run this again"),
        ("/absent", "the server answers 404"),
    ],
)
def test_what_is_not_the_file_is_not_kept(
    path: str, words: str, server: tuple[str, list[str]], tmp_path: Path
) -> None:
    with pytest.raises(FetchError, match=words):
        fetch_data.fetch(source(server[0] + path), tmp_path)
    assert list((tmp_path / "text").iterdir()) == []


def test_a_file_of_other_contents_stays(server: tuple[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text/x.txt").write_bytes(b"mine")
    with pytest.raises(FetchError, match=r"x.txt has other contents than .*; delete it and run this again"):
        fetch_data.fetch(source(f"{server[0]}/right"), tmp_path)
    assert (tmp_path / "text/x.txt").read_bytes() == b"mine"
    assert server[1] == []


def test_without_a_network_one_line_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:  # bound and not listening: nobody answers at this port
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        rows = [source(f"{address}/right", f"text/{name}") for name in "ab"]
        monkeypatch.setattr(fetch_data, "sources", lambda: rows)
        assert fetch_data.main(["--folder", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("fetch_data: no answer from 127.0.0.1:")
    assert "2 of 2 files are missing" in lines[0]
    assert "run this again where there is a network, or copy" in lines[0]


def test_the_command_fetches_the_rest_after_a_failure(
    server: tuple[str, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [source(f"{server[0]}/{name}", f"text/{name}") for name in ("cut", "right")]
    monkeypatch.setattr(fetch_data, "sources", lambda: rows)
    assert fetch_data.main(["--folder", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "text/right" in said.out
    assert "1 of 2 files are missing" in said.err
    rows[0] = replace(rows[0], url=f"{server[0]}/right")
    assert fetch_data.main(["--folder", str(tmp_path)]) == 0
    assert "text/right  (there already)" in capsys.readouterr().out


def test_a_word_that_no_path_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fetch_data.main(["nope"])
    assert ended.value.code == 2
    assert "no file has nope in its path; --list shows all of them" in capsys.readouterr().err


def test_a_missing_file_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTBPE_SHARED_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(fetch_data, "FETCHED", tmp_path)
    assert fetch_data.find("vocabs/qwen.tiktoken") is None
    said = fetch_data.missing("vocabs/qwen.tiktoken")
    assert said == (
        "vocabs/qwen.tiktoken is not here; "
        "fetch it with: python tests/parity/fetch_data.py vocabs/qwen.tiktoken"
    )
    assert "no public address" in fetch_data.missing("vocabs/deepseek_tokenizer.json")
    (tmp_path / "vocabs").mkdir()
    (tmp_path / "vocabs/qwen.tiktoken").write_bytes(b"")
    assert fetch_data.find("vocabs/qwen.tiktoken") == tmp_path / "vocabs/qwen.tiktoken"


def test_every_row_can_be_fetched_and_every_corpus_has_a_text(corpora: list[str]) -> None:
    rows = {row.path: row for row in fetch_data.sources()}
    assert len(rows) == len(fetch_data.sources())
    for row in rows.values():
        assert row.url.startswith("https://"), row
        assert len(row.sha256) == 64, row
        assert row.size > 0, row
        assert row.licence, row
    for name in corpora:
        assert fetch_data.stand_ins(name), name
        assert set(fetch_data.stand_ins(name)) <= rows.keys(), name


def test_the_rank_files_are_those_of_the_packaged_encodings() -> None:
    from package_encodings import SOURCES

    rows = {row.path: row.sha256 for row in fetch_data.sources()}
    for name, (digest, _, _) in SOURCES.items():
        assert rows[f"vocabs/{name}.tiktoken"] == digest
