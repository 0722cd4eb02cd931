"""Parquet files that expand: refused by their size before they are read, whatever they say of it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hfbench.records.parquet_reading import read_table

MB = 1 << 20


def file_of(columns: dict[str, Any], **how: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **how)
    return sink.getvalue()


def rows_of(n: int) -> dict[str, Any]:
    """Columns as those of an archive: texts, numbers, and lists of rows."""
    step = {"x": 1.5, "why": "done", "k": None}
    return {
        "text": [f"run {i} " * 10 for i in range(n)],
        "number": [i / 3 for i in range(n)],
        "steps": [[step] * (i % 4) for i in range(n)],
    }


HOW: tuple[dict[str, Any], ...] = (
    {}, {"compression": "zstd"}, {"compression": "none"}, {"use_dictionary": False}, {"row_group_size": 7},
    {"data_page_version": "2.0"}, {"data_page_size": 64, "compression": "zstd"},
)  # fmt: skip


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("n", [0, 1, 200])
def test_a_table_is_read_as_it_was_written(n: int, how: dict[str, Any]) -> None:
    held = file_of(rows_of(n), **how)
    assert read_table(held).equals(pq.read_table(io.BytesIO(held)))
    assert read_table(held, ["number"]).column_names == ["number"]


def test_texts_that_repeat_are_read_by_way_of_their_dictionaries() -> None:
    """A text in many rows is stored once, and could be too long in each; here it is not."""
    texts = ["x" * 40_000, "y" * 40_000] * 500
    held = file_of({"text": texts, "steps": [[{"why": text}] for text in texts]}, compression="zstd")
    assert len(held) < 20_000
    with pytest.raises(ValueError, match="it expands to 7[0-9] MiB, more than the 64 MiB allowed"):
        read_table(held)
    few = file_of({"text": texts[:600], "steps": [[{"why": text}] for text in texts[:600]]}, compression="zstd")
    assert read_table(few)["steps"].to_pylist() == [[{"why": text}] for text in texts[:600]]


# ---------------------------------------------------------------- bombs


def lying(held: bytes, *numbers: int) -> bytes:
    """The file, whose last kilobytes state these numbers as small ones."""
    footer = int.from_bytes(held[-8:-4], "little") + 8
    before, after = held[:-footer], held[-footer:]
    for number in numbers:
        stated = varint(2 * number)
        assert stated in after
        after = after.replace(stated, varint(2 * 3, len(stated)))
    return before + after


def varint(number: int, length: int = 0) -> bytes:
    """The number as the format writes it, in so many bytes."""
    parts = []
    while number > 127 or len(parts) + 1 < length:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def long_text() -> bytes:
    return file_of({"text": ["x" * (200 * MB)]}, compression="zstd")


def long_text_unsaid() -> bytes:
    held = long_text()
    chunk = pq.read_metadata(io.BytesIO(held)).row_group(0).column(0)
    return lying(held, chunk.total_uncompressed_size)


def text_in_every_row() -> bytes:
    indices = pa.array([0] * 100_000, pa.int32())
    return file_of({"text": pa.DictionaryArray.from_arrays(indices, ["x" * 4000])}, store_schema=False)


def text_in_every_step() -> bytes:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), ["x" * 1000])
    return file_of({"steps": pa.ListArray.from_arrays([0, len(texts)], texts)}, compression="zstd", store_schema=False)


def many_rows() -> bytes:
    return file_of({f"c{i}": pa.nulls(5_000_000, pa.float64()) for i in range(4)})


def many_steps() -> bytes:
    return file_of({"steps": pa.ListArray.from_arrays([0, 20_000_000], pa.nulls(20_000_000, pa.float64()))})


def many_steps_unsaid() -> bytes:
    return lying(many_steps(), 20_000_000)


def shared_beginnings() -> bytes:
    """Each text is the one before and a letter more."""
    texts = ["x" * (10_000 + i % 7) for i in range(20_000)]
    how = {"column_encoding": "DELTA_BYTE_ARRAY", "use_dictionary": False}
    return file_of({"text": texts}, compression="zstd", **how)


BOMBS: dict[Callable[[], bytes], str] = {
    long_text: "it expands to [0-9]+ MiB, more than the 64 MiB allowed for a file of 0.0[0-9]+ MiB",
    long_text_unsaid: "it expands to [0-9]+ MiB, more than the 64 MiB",
    text_in_every_row: "it expands to [0-9]+ MiB",
    text_in_every_step: "it expands to 9[0-9][0-9] MiB",
    many_rows: "it expands to 30[0-9] MiB",
    many_steps: "it expands to 305 MiB",
    many_steps_unsaid: "it expands to 305 MiB",
    shared_beginnings: "an encoding that hfbench does not write",
}


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_with_its_size(bomb: Callable[[], bytes]) -> None:
    held = bomb()
    assert len(held) < MB / 2
    with pytest.raises(ValueError, match=BOMBS[bomb]):
        read_table(held)


PEAK = """
import resource, sys
from hfbench.records.parquet_reading import read_table

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

read_table(open(sys.argv[1], "rb").read())
before = peak()
for file in sys.argv[2:]:
    try:
        read_table(open(file, "rb").read())
    except ValueError:
        print(peak() - before)
"""


@pytest.mark.slow
def test_bombs_take_little_memory(tmp_path: Path) -> None:
    files = [tmp_path / "plain", *(tmp_path / re.sub(r"\W", "", bomb.__name__) for bomb in BOMBS)]
    for file, held in zip(files, [file_of(rows_of(50)), *(bomb() for bomb in BOMBS)], strict=True):
        file.write_bytes(held)
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, files)], capture_output=True, text=True, check=True)
    peaks = [float(line) for line in done.stdout.split()]
    assert len(peaks) == len(BOMBS)
    assert max(peaks) < 100  # MiB
