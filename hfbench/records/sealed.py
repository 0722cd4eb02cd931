"""Sealed files: a digest of the contents stands in the file itself, so that damage is never taken for contents.

Bytes   a line of magic, the sha256 of all that follows as 64 hexadecimal digits and a newline, then the payload
JSON    the member "sha256" is the digest of all others, written with sorted keys
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hfbench.errors import StoreError
from hfbench.records.files import finite, read_json, write_atomically, write_json

SEAL = "sha256"


def write_sealed(path: Path, magic: bytes, save: Callable[[Any], object]) -> None:
    """Writes a sealed file, whole or not at all; `save` writes the payload to the file that it is given."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(magic + _digest_line(b""))
            hashing = _Hashing(file)
            save(hashing)
            file.seek(len(magic))
            file.write(hashing.digest.hexdigest().encode())

    write_atomically(path, write)


class _Hashing:
    """A file that is written from its beginning to its end, and hashed without being held in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def unseal(magic: bytes, held: bytes) -> bytes | None:
    """The payload of a sealed file; None if the magic is another or the payload is not what was sealed."""
    start = len(magic) + len(_digest_line(b""))
    stated, payload = held[len(magic) : start], held[start:]
    return payload if held.startswith(magic) and stated == _digest_line(payload) else None


def _digest_line(payload: bytes) -> bytes:
    return hashlib.sha256(payload).hexdigest().encode() + b"\n"


def write_sealed_json(path: Path, values: Mapping[str, Any]) -> None:
    write_json(path, {**values, SEAL: _digest(finite(values))})


def read_sealed_json(path: Path) -> dict[str, Any] | None:
    """The mapping as it was sealed, or None if there is no file. Earlier versions wrote no seal.

    Raises StoreError if the file holds something else.
    """
    values = read_json(path)
    if values is None:
        return None
    stated = values.pop(SEAL, None)
    if stated is not None and stated != _digest(values):
        raise StoreError(f"{path} is damaged: its contents do not have the sha256 that it states.")
    return values


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
