"""Decompression up to a bound."""

from __future__ import annotations

import errno
import gzip
import tracemalloc

import pytest

from hfbench.parts.gunzip import PIECE, gunzip


@pytest.mark.parametrize("size", [0, 1, PIECE, 3 * PIECE + 5])
def test_what_was_packed_comes_back_in_pieces(size: int) -> None:
    held = bytes(range(256)) * (size // 256) + bytes(size % 256)
    pieces = list(gunzip(gzip.compress(held, 1), size))
    assert b"".join(pieces) == held
    assert max(map(len, pieces), default=0) <= PIECE
    halves = gzip.compress(held[: size // 2]) + gzip.compress(held[size // 2 :])
    assert b"".join(gunzip(halves, size)) == held


def test_a_byte_too_many_is_an_error_before_the_rest_is_unpacked() -> None:
    packed = gzip.compress(bytes(50 * PIECE))
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match=f"its {len(packed)} bytes expand to more than the 1000 bytes") as raised:
            list(gunzip(packed, 1000))
        assert tracemalloc.get_traced_memory()[1] < 5 * PIECE
    finally:
        tracemalloc.stop()
    assert raised.value.errno == errno.EFBIG
    with pytest.raises(EOFError):
        list(gunzip(packed[:-4], 50 * PIECE))
