"""A web server with faults, for tests: it serves a folder, or passes requests on to another server."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Proxy(ThreadingHTTPServer):
    """Passes requests on, and answers some of them wrongly.

    ``faults`` has what is to happen to the next answers to requests of ``methods``, each with a part of
    the path: ``"503"``, ``"cut"`` (half of the body, then the end), ``"stall"`` (nothing until the server
    ends), ``"flip"`` (a wrong byte). With ``forever`` the first fault happens to all of them.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target)
        self.faults: list[tuple[str, str]] = []
        self.forever = False
        self.methods = {"GET"}
        self.ended = threading.Event()
        self.happened: Counter[str] = Counter()
        self.body_bytes = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, method: str, path: str) -> str | None:
        with self._lock:
            for number, (part, fault) in enumerate(self.faults):
                if method in self.methods and part in path:
                    if not self.forever:
                        del self.faults[number]
                    self.happened[fault] += 1
                    return fault
        return None

    def count(self, size: int) -> None:
        with self._lock:
            self.body_bytes += size


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        target = self.server.target
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        try:
            # The host stays, because requests to S3 are signed with it.
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        fault = self.server.fault(self.command, self.path)
        status = answer.status
        if fault == "stall":
            self.server.ended.wait()
            self.close_connection = True
            return
        if fault == "503":
            status, data = 503, b"<Error><Code>SlowDown</Code></Error>"
        if fault == "flip" and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.send_response(status)
        dropped = {"connection", "content-length", "transfer-encoding", "date", "server"}
        for name, value in answer.getheaders():
            if name.lower() not in dropped:
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", size or str(len(data)))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        if self.command != "HEAD":
            self.wfile.write(data)
            if self.command == "GET" and status in (200, 206):
                self.server.count(len(data))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - http.server calls them so

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def running(target: str) -> Iterator[Proxy]:
    """Run a proxy for the length of a block."""
    proxy = Proxy(target)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()
