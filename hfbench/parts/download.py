"""Download of one address into a file, with a short reason if it fails."""

from __future__ import annotations

import errno
import gzip
import zlib
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from pathlib import Path
from ssl import SSLCertVerificationError
from urllib.error import HTTPError, URLError
from urllib.request import HTTPHandler, HTTPSHandler, Request, build_opener

from hfbench.parts.gunzip import gunzip

CONNECT, SILENCE = 5.0, 30.0  # seconds a server may take to answer the call, and stay silent after it
FAILURES = (OSError, HTTPException, EOFError, zlib.error)
BROKEN = (IncompleteRead, ConnectionResetError, gzip.BadGzipFile, EOFError, zlib.error)


class PatientConnection(HTTPConnection):
    """Connection with a longer timeout for the answer than for connecting."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(SILENCE)


class PatientTLSConnection(PatientConnection, HTTPSConnection): ...


class OpenHTTP(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(PatientConnection, req)


class OpenHTTPS(HTTPSHandler):
    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(PatientTLSConnection, req)


def download(url: str, target: Path, at_most: int) -> None:
    """Downloads the address into `target`, or raises one of FAILURES, also for more than `at_most` bytes."""
    request = Request(url, headers={"User-Agent": "hfbench"})  # some servers refuse Python's own name
    with build_opener(OpenHTTP, OpenHTTPS).open(request, timeout=CONNECT) as response:
        body = response.read(at_most + 1)
        packed = response.headers.get("Content-Encoding") in ("gzip", "x-gzip")
        missing = response.length
    if len(body) <= at_most and missing:
        raise IncompleteRead(body, missing)  # which reading to a bound does not
    if len(body) > at_most:
        raise OSError(errno.EFBIG, f"it sends more than {at_most} bytes")
    target.write_bytes(b"".join(gunzip(body, at_most)) if packed else body)


def reason_of(error: BaseException) -> str:
    """Short reason for a failure; urllib wraps errors before the answer in a URLError."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "timed out"
    if isinstance(cause, SSLCertVerificationError):
        return "its certificate is not accepted"
    if isinstance(error, BROKEN):
        return "broke off"
    if isinstance(error, (URLError, ConnectionError)):
        return "cannot connect"
    return getattr(error, "strerror", None) or type(error).__name__
