"""Parquet files that others may have made: how large a table becomes is known before it is made.

A file of some kilobytes may hold a text of gigabytes, or a row a million times, and say that it does not. What it says
is believed where a reader has to believe it: pages are counted by their own headers, and texts stay in dictionaries
until their length is known.

Source  Apache Parquet format 2.10: `PageHeader`, in Thrift's compact protocol; encodings 0 to 8
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hfbench.records.expansion import ALWAYS, check_expansion

if TYPE_CHECKING:
    import pyarrow as pa

PER_VALUE = 16  # bytes of a number or an index, with its levels of nesting
SNAPPY = 22  # bytes that one byte expands to at most: a copy of 64 takes three
ENCODINGS = (0, 2, 3, 4, 8)  # plain, dictionaries and runs; others make long texts of a few bytes
DEEPEST = 8  # structures in one another in a page's header


def read_table(held: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a file of these contents: these columns, or all.

    Raises ValueError for one that is too large for its file. What pyarrow raises for a damaged file is not documented.
    """
    import pyarrow as pa
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(pa.BufferReader(held))
    metadata = file.metadata
    sizes = list(_sizes(metadata, held))
    stored = sum(size.pages + PER_VALUE * size.values for size in sizes)
    check_expansion(stored, len(held))
    # No text of a page is longer than the page.
    if stored + sum(size.pages * size.values for size in sizes if size.is_text) <= ALWAYS:
        return file.read(columns, use_threads=False)
    in_dictionaries = sorted({size.path for size in sizes if size.is_text})
    file = pyarrow.parquet.ParquetFile(pa.BufferReader(held), metadata=metadata, read_dictionary=in_dictionaries)
    texts = file.read(columns, use_threads=False)
    check_expansion(stored + sum(_text_bytes(array) for column in texts.columns for array in column.chunks), len(held))
    schema = metadata.schema.to_arrow_schema()
    return texts.cast(pa.schema([schema.field(name) for name in texts.schema.names], schema.metadata))


def _text_bytes(array: Any) -> int:
    """Bytes of the texts in an array, written out, however deep they lie in it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        return pc.sum(lengths.take(array.indices)).as_py() or 0
    if pa.types.is_struct(array.type):
        return sum(_text_bytes(array.field(index)) for index in range(array.type.num_fields))
    if pa.types.is_list(array.type):
        return _text_bytes(array.values)
    return 0


# ---------------------------------------------------------------- pages


class _Size(NamedTuple):
    """Size of a column of a group of rows when it is read: bytes of its pages, and number of its values."""

    path: str
    is_text: bool
    pages: int
    values: int


def _sizes(metadata: Any, held: bytes) -> Iterator[_Size]:
    schema = [metadata.schema.column(position) for position in range(metadata.num_columns)]
    columns = [
        (column.path, column.physical_type == "BYTE_ARRAY", column.max_repetition_level == 0) for column in schema
    ]
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        rows = group.num_rows
        for position in range(group.num_columns):
            chunk, (path, is_text, is_flat) = group.column(position), columns[position]
            if is_flat and chunk.compression in ("SNAPPY", "UNCOMPRESSED"):
                pages, values = SNAPPY * chunk.total_compressed_size, rows
            else:
                pages, values = _counted(chunk, held)
            if min(pages, rows) < 0:
                raise ValueError("a column in it has no size")
            yield _Size(path, is_text, pages, max(values, rows, chunk.num_values))


def _counted(chunk: Any, held: bytes) -> tuple[int, int]:
    """Bytes and values of a column, by the headers of its pages. Of a column without values no page is read."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    end, pages, values = start + (chunk.total_compressed_size if chunk.num_values else 0), 0, 0
    while start < end:
        header = _Header(held, start)
        fields = header.structure()
        size, packed = fields.get(2, -1), fields.get(3, -1)
        page = fields.get(5) or fields.get(7) or fields.get(8) or {}
        count = page.get(1, -1)
        if min(size, packed, count) < 0:
            raise ValueError("a page in it has no size")
        if page.get(4 if 8 in fields else 2, 0) not in ENCODINGS:
            raise ValueError("a page in it has an encoding that hfbench does not write")
        pages, values = pages + size, values + count
        start = header.position + packed
    return pages, values


class _Header:
    """A page's header in Thrift's compact protocol: a structure, its fields by number."""

    def __init__(self, held: bytes, position: int) -> None:
        self.held, self.position = held, position

    def structure(self, depth: int = 0) -> dict[int, Any]:
        if depth > DEEPEST:
            raise ValueError("a page's header in it is nested too deep")
        fields, number = dict[int, Any](), 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 12:
            return self.structure(depth + 1)
        if kind not in (3, 7, 8):  # lists and maps, which no page has
            raise ValueError("a page's header in it cannot be read")
        length = {3: 1, 7: 8}.get(kind) or self._unsigned()
        self.position += length
        return None

    def _byte(self) -> int:
        self.position += 1
        return self.held[self.position - 1]

    def _unsigned(self) -> int:
        value, shift = 0, 0
        while shift < 64:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
        raise ValueError("a number in it is too long")

    def _integer(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
