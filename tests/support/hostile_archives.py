"""Archives that somebody changed, with the digest of what is now in them."""

from __future__ import annotations

import copy
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from hfbench.commands.export import export_study
from hfbench.config.study import Study
from hfbench.records.archive import DIGEST, UNSET, _with_digest
from hfbench.records.trace import COLUMNS
from support.made_records import records
from support.mutations import PLAIN, mutate, spoilt

Rows = list[dict[str, Any]]
KINDS = ("bytes", "rows", "rows", "rows", "rows", "table", "bomb")


def archive_of(study: Study, folder: Path) -> bytes:
    """The archive of made-up records of the study."""
    records(study, folder / "results")
    file = folder / "study.parquet"
    export_study(study, folder / "results", None, Console(file=io.StringIO()), file)
    return file.read_bytes()


def table_of(held: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(held))


def sealed(table: pa.Table, **how: Any) -> bytes:
    """The contents of an archive with this table and its correct digest."""
    file = io.BytesIO()
    metadata = {**(table.schema.metadata or {}), DIGEST: UNSET}
    pq.write_table(table.replace_schema_metadata(metadata), file, **{"compression": "zstd", **how})
    return _with_digest(file.getvalue(), UNSET)


def with_rows(held: bytes, rows: Rows) -> bytes:
    """The archive with these rows."""
    return sealed(pa.Table.from_pylist(rows, schema=table_of(held).schema))


def mutated(held: bytes, seed: int) -> bytes:
    """The archive, changed at random: its bytes, one to three entries of its rows, its columns, or made a bomb of."""
    draw = random.Random(seed)
    kind = draw.choice(KINDS)
    if kind == "bytes":
        return spoilt(held, draw)
    table = table_of(held)
    if kind == "table":
        return _rearranged(table, draw)
    rows = table.to_pylist()
    if kind == "bomb":
        return _bomb(table, rows, draw)
    for _ in range(draw.randint(1, 3)):
        _change(rows, draw)
    return with_rows(held, rows)


def _change(rows: Rows, draw: random.Random) -> None:
    row, column = draw.choice(rows), draw.choice(["key", "config", "config", "result", "result", "ended", "trace"])
    if column in ("config", "result") and isinstance(row[column], str) and row[column].startswith("{"):
        values = json.loads(row[column])
        mutate(values, draw)
        row[column] = json.dumps(values)
    elif column == "trace" and row["trace"]:
        _change_trace(row["trace"], draw)
    else:
        texts = [value for value in PLAIN if isinstance(value, str | None)]
        numbers = [value for value in PLAIN if isinstance(value, float | None)]
        row[column] = draw.choice({"ended": numbers, "trace": [None, [], [None]]}.get(column, texts))


def _change_trace(steps: Rows, draw: random.Random) -> None:
    how = draw.choice(["drop", "swap", "repeat", "entry", "entry", "entry"])
    index = draw.randrange(len(steps))
    if how == "drop":
        del steps[index]
    elif how == "swap":
        steps[0], steps[index] = steps[index], steps[0]
    elif how == "repeat":
        steps.insert(index, copy.copy(steps[index]))
    else:
        name = draw.choice(list(steps[index]))
        kind = COLUMNS[name].type
        known = [value for value in PLAIN if type(value) is kind and not (kind is int and value >= 2**63)]
        steps[index][name] = draw.choice([None, *known])


def _rearranged(table: pa.Table, draw: random.Random) -> bytes:
    how = draw.choice(["without", "twice", "renamed", "typed", "empty", "uncompressed", "groups"])
    name = draw.choice(table.schema.names)
    if how == "without":
        return sealed(table.drop_columns([name]))
    if how == "twice":
        return sealed(pa.concat_tables([table, table]))
    if how == "renamed":
        return sealed(
            table.rename_columns([f"{column}x" if column == name else column for column in table.column_names])
        )
    if how == "typed":
        return sealed(table.set_column(0, "key", table["key"].cast(pa.large_string())))
    if how == "empty":
        return sealed(table.slice(0, 0))
    return sealed(table, row_group_size=1) if how == "groups" else sealed(table, compression="none")


def _bomb(table: pa.Table, rows: Rows, draw: random.Random) -> bytes:
    how = draw.choice(["rows", "text", "steps", "same text"])
    if how == "rows":
        return repeated(table, draw.choice([1000, 200_000]))
    if how == "text":
        rows[0][draw.choice(["key", "config", "result"])] = draw.choice(["x", "[", " "]) * (66 << 20)
    elif how == "same text":
        for row in rows:
            row["config"] = "x" * (18 << 20)
    else:
        rows[0]["trace"] = rows[0]["trace"][:1] * 100_000
    return sealed(pa.Table.from_pylist(rows, schema=table.schema))


def repeated(table: pa.Table, times: int) -> bytes:
    """The first row so many times."""
    first = table.slice(0, 1)
    return sealed(first.take([0] * times))
