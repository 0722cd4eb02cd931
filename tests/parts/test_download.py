"""Downloads from servers that answer late, twice packed, or only to some clients."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hfbench.parts import download as module
from hfbench.parts.download import FAILURES, download, reason_of

CONTENT = gzip.compress(b"cases" * 1000)
MOST = 10_000  # bytes


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/late":
            time.sleep(0.6)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/plain")
            self.end_headers()
            return
        own = self.headers["User-Agent"] == "hfbench"
        with suppress(ConnectionError):  # who would not wait is gone
            self.send_response(200 if own else 403)
            if self.path == "/packed":
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(CONTENT) if self.path == "/packed" else CONTENT)

    def log_message(self, *of: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["plain", "moved", "packed"])
def test_what_is_written_is_what_the_server_holds(server: str, tmp_path: Path, path: str) -> None:
    download(f"{server}/{path}", tmp_path / "file", MOST)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_may_be_silent_for_longer_than_it_may_take_to_connect(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT", 0.3)
    download(f"{server}/late", tmp_path / "file", MOST)
    monkeypatch.setattr(module, "SILENCE", 0.1)
    with pytest.raises(FAILURES) as caught:
        download(f"{server}/late", tmp_path / "late", MOST)
    assert reason_of(caught.value) == "timed out"
    assert not (tmp_path / "late").exists()


def test_a_server_that_speaks_no_tls_is_none_to_connect_to(server: str, tmp_path: Path) -> None:
    with pytest.raises(FAILURES) as caught:
        download(server.replace("http:", "https:"), tmp_path / "file", MOST)
    assert reason_of(caught.value) == "cannot connect"


@pytest.mark.parametrize("path", ["plain", "packed"])
def test_a_server_that_sends_more_than_may_be_is_left(server: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(FAILURES) as caught:
        download(f"{server}/{path}", tmp_path / "file", len(CONTENT) - 1)
    assert "more than" in reason_of(caught.value)
    assert not (tmp_path / "file").exists()
