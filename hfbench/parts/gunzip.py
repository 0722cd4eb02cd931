"""Decompression of gzip piece by piece, up to a bound: three megabytes may expand to gigabytes."""

from __future__ import annotations

import errno
import gzip
import io
from collections.abc import Iterator

PIECE = 1 << 20  # bytes in memory at once


def gunzip(packed: bytes, at_most: int) -> Iterator[bytes]:
    """The decompressed bytes, in pieces.

    Raises OSError with errno EFBIG if there are more than `at_most`; otherwise what gzip raises for damage: OSError,
    EOFError or zlib.error.
    """
    total = 0
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
        while piece := file.read(PIECE):
            total += len(piece)
            if total > at_most:
                raise OSError(
                    errno.EFBIG, f"its {len(packed)} bytes expand to more than the {at_most} bytes that it may have"
                )
            yield piece
