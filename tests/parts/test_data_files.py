"""Data files: order of the folders, checks, downloads from a local server, messages."""

import gzip
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import dataclass, field
from email.message import Message
from http.client import BadStatusLine, IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError, URLError

import pytest

from hfbench.errors import DataError
from hfbench.parts import data_files as module
from hfbench.parts.data_files import (
    DataFile,
    decompressed,
    find_file,
    locate,
    missing_files,
    present,
    read_file,
    verify,
    where,
)

CONTENT = b"twenty thousand curves\n" * 200
SHA = hashlib.sha256(CONTENT).hexdigest()
PLAIN = DataFile("set/cases.gz", SHA)


@dataclass
class Server:
    """A mirror on 127.0.0.1: path -> (status, body, headers); `asked` lists the paths requested."""

    address: str
    pages: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)

    def url(self, path, body, status=200, **headers):
        self.pages[path] = (status, body, headers)
        return self.address + path


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            mirror.asked.append(self.path)
            status, body, headers = mirror.pages.get(self.path, (404, b"no", {}))
            self.send_response(status)
            for name, value in {"Content_Length": len(body), **headers}.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        mirror = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield mirror
        http.shutdown()
        thread.join()


@pytest.fixture
def dead():
    """The address of a port nobody listens on."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        port = http.server_port
    return f"http://127.0.0.1:{port}/cases.gz"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(module, "cache_folder", lambda: folder)
    monkeypatch.setattr(module, "_verified", set())
    monkeypatch.delenv("HFBENCH_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


def put(folder, raw, path=PLAIN.path):
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(raw)
    return target


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------- folders


def test_folders_in_order(tmp_path, monkeypatch, cache):
    given, named = tmp_path / "given", tmp_path / "named"
    given.mkdir()
    monkeypatch.setenv("HFBENCH_DATA", str(named))
    assert [place.folder for place in where(str(given))] == [given, named, cache]
    assert [place.named_by for place in where(str(given))] == ["--data", "HFBENCH_DATA", "user cache"]
    assert [str(place) for place in where()] == [f"{named} (HFBENCH_DATA): does not exist", f"{cache} (user cache)"]
    for folder in (cache, named, given):  # each one found goes before those found so far
        expected = put(folder, gzip.compress(CONTENT))
        assert locate(PLAIN, str(given)) == present(PLAIN, str(given)) == expected
    assert read_file(PLAIN, str(given)) == CONTENT


def test_without_variable_only_the_cache(monkeypatch, cache):
    monkeypatch.setenv("HFBENCH_DATA", "")
    assert [place.folder for place in where()] == [cache]


def test_given_folder_must_exist(tmp_path):
    with pytest.raises(DataError, match="the data folder must exist, but got '.*nowhere'"):
        find_file(PLAIN, str(tmp_path / "nowhere"))


def test_user_cache_is_named_after_the_project(monkeypatch):
    monkeypatch.undo()
    assert "hfbench" in module.cache_folder().parts


@pytest.mark.parametrize("level", [1, 9])
def test_checksum_is_of_decompressed_bytes(tmp_path, level):
    put(tmp_path, gzip.compress(CONTENT, level))
    assert read_file(PLAIN, str(tmp_path)) == CONTENT


def test_decompressed_file_under_the_compressed_name(tmp_path):
    put(tmp_path, CONTENT)
    assert read_file(PLAIN, str(tmp_path)) == CONTENT


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("through", ["argument", "variable"])
def test_corrupt_file_is_an_error_and_stays(tmp_path, monkeypatch, server, through):
    folder = tmp_path / "given"
    raw = gzip.compress(b"something else")
    path = put(folder, raw)
    file = DataFile(PLAIN.path, SHA, (server.url("/cases.gz", gzip.compress(CONTENT)),))
    if through == "variable":
        monkeypatch.setenv("HFBENCH_DATA", str(folder))
    with pytest.raises(DataError) as caught:
        locate(file, str(folder) if through == "argument" else None)
    assert str(caught.value).splitlines() == [
        f"{path} is damaged or is another file.",
        f"  expected  sha256 {SHA} (of the decompressed bytes)",
        f"  found     sha256 {hashlib.sha256(b'something else').hexdigest()}",
        "Replace it, or delete it: it is then taken from the next folder that has it, or downloaded.",
    ]
    assert path.read_bytes() == raw
    assert server.asked == []


def test_a_corrupt_file_without_mirror_is_replaced_or_deleted(tmp_path):
    put(tmp_path, b"bad")
    with pytest.raises(DataError, match=r"\nReplace it, or delete it\.$"):
        find_file(PLAIN, str(tmp_path))


def test_verify_of_a_corrupt_cache_says_that_it_is_fetched_again(cache):
    path = put(cache, b"bad")
    with pytest.raises(DataError) as caught:
        verify(DataFile(PLAIN.path, SHA, ("http://127.0.0.1/cases.gz",)))
    assert str(caught.value).startswith(f"{path} is damaged or is another file.\n")
    assert str(caught.value).endswith("is downloaded again when it is needed; `hfbench data fetch` does so now.")


@pytest.mark.parametrize("keep", [12, -9])
def test_truncated_gzip(tmp_path, keep):
    path = put(tmp_path, gzip.compress(CONTENT)[:keep])
    message = f"(?s)expected  sha256 {SHA}.*not readable: Compressed file"
    with pytest.raises(DataError, match=message) as caught:
        find_file(PLAIN, str(tmp_path))
    assert str(caught.value).count(str(path)) == 1
    assert ".." not in str(caught.value)


def test_gzip_with_flipped_bits(tmp_path):
    raw = bytearray(gzip.compress(CONTENT))
    raw[20] ^= 0xFF
    put(tmp_path, bytes(raw))
    with pytest.raises(DataError, match="is damaged or is another file"):
        find_file(PLAIN, str(tmp_path))


def test_a_file_that_expands_beyond_its_size_is_read_no_further(tmp_path, server):
    """Three megabytes took six gigabytes."""
    bomb = gzip.compress(bytes(100_000_000))
    path, file = put(tmp_path, bomb), DataFile(PLAIN.path, SHA, size=len(CONTENT))
    tracemalloc.start()
    try:
        for read in (lambda: read_file(file, str(tmp_path)), lambda: decompressed(path, 10_000_000)):
            with pytest.raises(DataError, match=f"its {len(bomb)} bytes expand to more than the [0-9]+ bytes"):
                read()
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(DataError, match=f"it has {len(CONTENT) + 1} bytes, more than the {len(CONTENT)}"):
        read_file(file, str(tmp_path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="it is a pipe, a socket or a device"):
        read_file(file, str(tmp_path))


def test_a_mirror_that_sends_a_bomb_is_left_for_the_next(cache, server):
    urls = (server.url("/bomb.gz", gzip.compress(bytes(50_000_000))), server.url("/cases.gz", CONTENT))
    assert locate(DataFile(PLAIN.path, SHA, urls, size=len(CONTENT))).read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"/bomb.gz: too large"):
        locate(DataFile("set/more.gz", SHA, urls[:1], size=len(CONTENT)))


def test_folder_in_place_of_the_file(tmp_path):
    path = tmp_path / PLAIN.path
    path.mkdir(parents=True)
    with pytest.raises(DataError, match="found     not readable: Is a directory\n"):
        find_file(PLAIN, str(tmp_path))
    with pytest.raises(DataError, match=f"^{path}: cannot be read: Is a directory\\.$"):
        decompressed(path)


def test_corrupt_cache_is_downloaded_again(cache, server):
    path = put(cache, b"half a file")
    file = DataFile(PLAIN.path, SHA, (server.url("/cases.gz", gzip.compress(CONTENT)),))
    assert locate(file) == path
    assert read_file(file) == CONTENT
    assert server.asked == ["/cases.gz"]


def test_hashed_once_until_the_file_changes(tmp_path, monkeypatch):
    path = put(tmp_path, gzip.compress(CONTENT))
    hashed = []
    unpacked = module._unpacked
    monkeypatch.setattr(module, "_unpacked", lambda path, at_most: hashed.append(path) or unpacked(path, at_most))
    for _ in range(3):
        find_file(PLAIN, str(tmp_path))
    assert hashed == [path]
    put(tmp_path, b"changed")
    with pytest.raises(DataError):
        find_file(PLAIN, str(tmp_path))


def test_verify_hashes_anew(tmp_path):
    raw = gzip.compress(CONTENT)
    path = put(tmp_path, raw)
    before = path.stat()
    assert find_file(PLAIN, str(tmp_path)) == path
    path.write_bytes(raw[:-1] + b"?")  # same size, and the same time: only a fresh hash can tell
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find_file(PLAIN, str(tmp_path)) == path
    with pytest.raises(DataError, match="is damaged or is another file"):
        verify(PLAIN, str(tmp_path))


def test_verify_downloads_nothing(server):
    file = DataFile(PLAIN.path, SHA, (server.url("/cases.gz", gzip.compress(CONTENT)),))
    with pytest.raises(DataError, match="in none of the data folders"):
        verify(file)
    assert server.asked == []


def test_optional_file(tmp_path):
    optional = DataFile("set/extra.mat", "", optional=True)
    assert find_file(optional, str(tmp_path)) is None
    assert verify(optional, str(tmp_path)) is None
    with pytest.raises(DataError, match="There is no mirror"):
        locate(optional, str(tmp_path))
    path = put(tmp_path, b"anything", optional.path)
    assert find_file(optional, str(tmp_path)) == verify(optional, str(tmp_path)) == path


# ---------------------------------------------------------------- downloads


def test_second_mirror_after_a_dead_one(cache, server, dead):
    file = DataFile(PLAIN.path, SHA, (dead, server.url("/cases.gz", gzip.compress(CONTENT))))
    assert locate(file) == cache / PLAIN.path
    assert read_file(file) == CONTENT
    assert files_below(cache) == [PLAIN.path]
    assert server.asked == ["/cases.gz"]  # the second reading found it


def test_server_that_undoes_the_compression(cache, server):
    url = server.url("/cases.gz", gzip.compress(CONTENT), Content_Encoding="gzip")
    file = DataFile(PLAIN.path, SHA, (url,))
    assert read_file(file) == CONTENT
    assert (cache / PLAIN.path).read_bytes() == CONTENT


def test_all_mirrors_fail(tmp_path, monkeypatch, cache, server, dead):
    monkeypatch.setenv("HFBENCH_DATA", str(tmp_path / "named"))
    short = gzip.compress(CONTENT)[:40]
    urls = (
        dead,
        server.address + "/missing.gz",
        server.url("/wrong.gz", gzip.compress(b"wrong")),
        server.url("/short.gz", short),
        server.url("/cut.gz", short, Content_Length=4000),
        server.url("/moved.gz", b"<html>login</html>"),
    )
    with pytest.raises(DataError) as caught:
        locate(DataFile(PLAIN.path, SHA, urls))
    reasons = [
        "cannot connect",
        "HTTP 404",
        "wrong checksum",
        "cut short or corrupt",
        "broke off",
        "wrong checksum",
    ]
    assert str(caught.value).splitlines() == [
        f"{PLAIN.path} is in none of the data folders and could not be downloaded.",
        "Looked in:",
        f"  {tmp_path / 'named'} (HFBENCH_DATA): does not exist",
        f"  {cache} (user cache)",
        "Mirrors:",
        *(f"  {url}: {reason}" for url, reason in zip(urls, reasons, strict=True)),
        f"To supply it offline, put the file at <folder>/{PLAIN.path} and set HFBENCH_DATA=<folder>.",
    ]
    assert list(cache.iterdir()) == []  # nothing half-written


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError(TimeoutError("timed out")), "timed out"),
        (TimeoutError("The read operation timed out"), "timed out"),
        (URLError(socket.gaierror(-2, "Name or service not known")), "cannot connect"),
        (URLError(OSError(113, "No route to host")), "cannot connect"),
        (URLError(ssl.SSLCertVerificationError("certificate verify failed")), "its certificate is not accepted"),
        (HTTPError("http://127.0.0.1/", 302, "infinite loop", Message(), None), "HTTP 302"),
        (IncompleteRead(b"half"), "broke off"),
        (ConnectionResetError(104, "Connection reset by peer"), "broke off"),
        (BadStatusLine("no HTTP"), "BadStatusLine"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_why_a_mirror_failed_is_said_in_a_few_words(monkeypatch, error, reason):
    def fail(*of):
        raise error

    monkeypatch.setattr(module, "_get", fail)
    with pytest.raises(DataError) as caught:
        locate(DataFile(PLAIN.path, SHA, ("http://127.0.0.1/cases.gz",)))
    assert f"\nMirrors:\n  http://127.0.0.1/cases.gz: {reason}\n" in str(caught.value)


def test_several_missing_files_are_one_message(cache):
    files = [DataFile(f"set/{name}.gz", SHA, (f"http://127.0.0.1/{name}.gz",)) for name in ("one", "two")]
    assert missing_files(files).splitlines() == [
        "2 data files are in none of the data folders.",
        "Missing:",
        "  set/one.gz",
        "  set/two.gz",
        "Looked in:",
        f"  {cache} (user cache)",
        "To supply them offline, put each file at <folder>/<its path above> and set HFBENCH_DATA=<folder>.",
    ]


def test_interrupted_download_leaves_nothing(cache, monkeypatch):
    def interrupted(url, target, at_most):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        locate(DataFile(PLAIN.path, SHA, ("http://127.0.0.1/cases.gz",)))
    assert list(cache.iterdir()) == []


def test_failed_download_keeps_what_the_cache_had(cache, dead):
    path = put(cache, b"damaged but not ours to lose")
    with pytest.raises(DataError, match=f"(?s){cache} .user cache.: the copy there is damaged.*{dead}"):
        locate(DataFile(PLAIN.path, SHA, (dead,)))
    assert path.read_bytes() == b"damaged but not ours to lose"


def test_cache_that_cannot_be_written(cache, server):
    cache.write_text("a file, not a folder")
    file = DataFile(PLAIN.path, SHA, (server.url("/cases.gz", gzip.compress(CONTENT)),))
    with pytest.raises(DataError, match=f"the user cache {cache} cannot be written: "):
        locate(file)


# ---------------------------------------------------------------- declarations


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../up", "a/../../up", "a/./b", "a//b", "a/", "a\\b", "C:/x", "~/x", "a/...", "x\n"]
)
def test_path_that_could_leave_the_folder_is_refused(path):
    with pytest.raises(DataError, match="plain names joined by '/'"):
        DataFile(path, SHA)


@pytest.mark.parametrize("sha256", ["abc", SHA.upper(), SHA + "0"])
def test_malformed_checksum_is_refused(sha256):
    with pytest.raises(DataError, match="64 lower-case hexadecimal"):
        DataFile("a", sha256)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "/local"])
def test_other_than_http_is_refused(url):
    with pytest.raises(DataError, match="http or https"):
        DataFile("a", SHA, (url,))


def test_download_without_checksum_is_refused():
    with pytest.raises(DataError, match="needs a sha256"):
        DataFile("a", "", ("https://host/a",))


def test_module_imports_no_heavy_library():
    heavy = "{'torch', 'numpy', 'scipy', 'pandas', 'requests', 'urllib.request'}"
    code = f"import hfbench.parts.data_files, sys; print(*sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"
