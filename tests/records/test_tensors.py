"""Files of tensors that others made: nothing in them is larger than the file, and nothing else than plain data."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hfbench.records.tensors import load_tensors

BEFORE = {"weights": torch.arange(12.0).reshape(3, 4), "rows": [{"k": 1, "x": None}], "names": ("a", True, 2.5)}


def payload(values: Any) -> bytes:
    file = io.BytesIO()
    torch.save(values, file)
    return file.getvalue()


def rezipped(change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A payload with other entries, written in another way."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(payload(BEFORE))) as given, zipfile.ZipFile(file, "w", method) as made:
        for name in given.namelist():
            made.writestr(name, change(name, given.read(name)))
    return file.getvalue()


def as_it_is(name: str, held: bytes) -> bytes:
    return held


def test_what_was_saved_is_loaded() -> None:
    shared = torch.zeros(100)
    for values in (BEFORE, OrderedDict(a=shared[:50], b=shared[50:], c=shared), {"t": BEFORE["weights"].T}, []):
        again = load_tensors(payload(values))
        assert str(again) == str(values)
    assert torch.equal(load_tensors(rezipped(as_it_is))["weights"], BEFORE["weights"])


def deep(levels: int, width: int) -> list[Any]:
    """Lists in lists: with a width of 2, few bytes that hold 2**levels entries."""
    entry: list[Any] = [1]
    for _ in range(levels):
        entry = [entry] * width
    return entry


def quantized() -> torch.Tensor:
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8)


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (b"", "something else than tensors and plain data"),
        (b"\x80\x02]q\x00.", "something else than tensors and plain data"),
        (payload(BEFORE)[:-30], "something else than tensors and plain data"),
        (payload(Path), "something else than tensors and plain data"),
        (b"\0" + payload(BEFORE), "does not begin with its first entry"),
        (rezipped(as_it_is, zipfile.ZIP_DEFLATED), "one of its entries is compressed"),
        (payload(torch.zeros(1).expand(2**31)), "claims 8589934592 bytes, but 4 are there"),
        (payload(torch.zeros(2, 2).to_sparse()), "one of its tensors is not dense"),
        (payload(torch.zeros(2, device="meta")), "one of its tensors is not dense"),
        (payload(quantized()), "one of its tensors is not dense"),
        (payload(deep(20, 2)), "more values than it has bytes"),
        (payload(deep(60, 1)), "nested more than 24 levels"),
    ],
)
def test_anything_else_is_refused_with_the_reason(held: bytes, reason: str) -> None:
    with warnings.catch_warnings(action="ignore"), pytest.raises(ValueError, match=reason):  # of torch, on old kinds
        load_tensors(held)


def test_entries_larger_than_the_file_are_refused() -> None:
    """As where several entries of a directory lead to the same bytes."""
    plain = payload({"a": torch.zeros(100_000)})
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        stated = archive.getinfo("archive/data/0").file_size.to_bytes(4, "little")
    with pytest.raises(ValueError, match="its entries state [0-9]+ bytes, more than the [0-9]+ that it has"):
        load_tensors(plain.replace(stated, (2**30).to_bytes(4, "little")))


PEAK = """
import resource, sys
from hfbench.records.tensors import load_tensors
import torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_tensors(open(sys.argv[1], "rb").read())
except ValueError:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)
"""


@pytest.mark.slow
def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A megabyte that expands to a gigabyte."""
    bomb = tmp_path / "bomb"
    grown = (2**30).to_bytes(4, "little")

    def expand(name: str, held: bytes) -> bytes:
        return bytes(2**30) if name.endswith("data/0") else held.replace(b"K\x0ct", b"J" + grown + b"t")

    bomb.write_bytes(rezipped(expand, zipfile.ZIP_DEFLATED))
    assert bomb.stat().st_size < 2**21
    done = subprocess.run([sys.executable, "-c", PEAK, str(bomb)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100  # MiB
