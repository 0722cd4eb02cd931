"""Archive: all records of a study in one file, to publish, to send, and to read with another version of the code.

An archive has a row per run: its key, its configuration and result as JSON, the time it ended, and its trace, a list
with a row per outer iteration. All runs of an archive come from one version of the code. When an archive is read, runs
are identified by their configurations, since another version would give other keys. Pictures of test cases are left
out, because they are part of the data.

An archive is read whole or not at all. Its metadata hold the sha256 of the file, taken with zeros in the digest's
place, as tar does for its headers. Archives of earlier versions hold none: the schema of records must suffice.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfbench.config.run_spec import RunSpec
from hfbench.errors import StoreError
from hfbench.messages import quoted
from hfbench.records import trace
from hfbench.records.files import check_folder, decoding, is_safe_name, json_bytes, json_object, safe_name, write_bytes
from hfbench.records.parquet_reading import read_table
from hfbench.records.recorded_study import RecordedStudy
from hfbench.records.run_folder import Contents, RunFolder
from hfbench.records.trace_file import check_trace, completed, trace_bytes
from hfbench.records.validation import COMPLETE, MANIFEST, check_config, check_result, manifest_of, same_settings
from hfbench.regular_files import read_regular_file

if TYPE_CHECKING:
    import pyarrow as pa

DIGEST = b"hfbench.sha256"  # in the metadata
UNSET = b"0" * 64  # in the place of the digest while it is taken
LATEST = 2.0**36  # seconds of the system's clock that a file's time may have
LARGEST = 1 << 30  # bytes of a file
LONGEST = 1 << 20  # characters of a configuration or result

# ---------------------------------------------------------------- writing


def write_archive(recorded: RecordedStudy, file: Path) -> int:
    """Writes every ended run to `file` and returns their number. Raises StoreError if there is none, or no folder."""
    import pyarrow as pa
    import pyarrow.parquet

    if not recorded.ended:
        left = "".join(f" {sentence}" for sentence in recorded.others.damaged())
        raise StoreError(
            f"none of the runs of {recorded.study.name} is recorded in {recorded.results}: nothing to write.{left}"
        )
    if not file.absolute().parent.is_dir():
        raise StoreError(f"{file} must lie in a folder that exists, but there is no {file.parent}.")
    rows = [_packed(recorded.folder(key)) for key in recorded.ended]
    table = pa.Table.from_pylist(rows, schema=_schema().with_metadata({DIGEST: UNSET}))
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    held = _with_digest(sink.getvalue(), UNSET)
    write_bytes(file.absolute(), held)
    return len(rows)


def _with_digest(held: bytes, there: bytes) -> bytes:
    """The contents of an archive with its digest, where `there` stands in its place. Metadata are at the end."""
    before, _, after = held.rpartition(there)
    return before + hashlib.sha256(before + UNSET + after).hexdigest().encode() + after


def _packed(folder: RunFolder) -> dict[str, Any]:
    result = folder.result() or {}
    return {
        "key": folder.key,
        "config": json.dumps(folder.config()),
        "result": json.dumps(result),
        "ended": (folder.path / "result.json").stat().st_mtime,
        "trace": folder.rows() if result["outcome"] in COMPLETE else [],
    }


def _schema() -> pa.Schema:
    """The columns of an archive."""
    import pyarrow as pa

    steps = pa.list_(pa.struct(list(trace.arrow_schema())))
    columns = {"key": pa.string(), "config": pa.string(), "result": pa.string(), "ended": pa.float64(), "trace": steps}
    return pa.schema(list(columns.items()))


# ---------------------------------------------------------------- reading


def published(study: str) -> Path | None:
    """The archive that is shipped for a study, or None."""
    file = Path(str(resources.files("hfbench.studies") / "results" / study / "records.parquet"))
    return file if file.is_file() else None


def unpack(file: Path, name: str, planned: Mapping[str, RunSpec], results: Path) -> tuple[Path, dict[str, RunSpec]]:
    """Unpacks an archive below `results`; returns the folder, and the planned runs by their keys there.

    A run that the archive does not hold, or holds with other settings, keeps its key. Sound records already in the
    folder are not changed. Raises StoreError, before anything is written, if the file cannot be read, is no archive, or
    holds none of the planned runs.
    """
    held = _read(file)
    rows = _rows(held, file)
    specs, found = {}, 0
    for own, spec in planned.items():
        config = spec.config()
        row = rows.get(_identity(config))
        if row is None or not same_settings(row.config, config):
            specs[own] = spec
        else:
            specs[row.key] = spec
            found += 1
    if not found:
        raise StoreError(f"{file} holds {len(rows)} runs, but none of the {len(planned)} of {name} with its settings.")
    folder = results / "archives" / f"{safe_name(name)}-{hashlib.sha256(held).hexdigest()[:8]}"
    check_folder(folder, results)
    for row in rows.values():
        there = RunFolder(folder, row.key)
        if there.sound_result(row.config) is None:
            there.put(row.contents())
    return folder, specs


def archived_contents(file: Path, planned: Mapping[str, RunSpec]) -> dict[str, Contents]:
    """Contents of the planned runs that the archive holds under the same keys. Raises StoreError for another file."""
    rows = {row.key: row for row in _rows(_read(file), file).values()}
    for key in planned.keys() & rows.keys():
        if not same_settings(rows[key].config, planned[key].config()):
            raise StoreError(f"{_wanted(file)}, but under {key}, the key of {planned[key].name}, it holds another run.")
    return {key: row.contents() for key, row in rows.items() if key in planned}


Identity = tuple[str, str, int]  # task, method and seed


def _identity(config: Mapping[str, Any]) -> Identity:
    return config["task"], config["method"]["name"], config["seed"]


@dataclass(frozen=True)
class _Row:
    """The record of a run in an archive."""

    key: str
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    ended: float
    trace: pa.Table

    def contents(self) -> Contents:
        """The files of the run's folder."""
        files = {"config.json": json_bytes(self.config), "result.json": json_bytes(self.result)}
        if self.result["outcome"] in COMPLETE:
            files["trace.parquet"] = trace_bytes(self.trace)
        return Contents({**files, MANIFEST: manifest_of(files)}, self.ended)


def _read(file: Path) -> bytes:
    try:
        return read_regular_file(file, LARGEST)
    except OSError as error:
        raise StoreError(f"{_wanted(file)}, but: {error.strerror or error}.") from error


def _wanted(file: Path) -> str:
    return f"{file} must be an archive written by `hfbench export`"


def _rows(held: bytes, file: Path) -> dict[Identity, _Row]:
    """The records in an archive of these contents. Raises StoreError unless all of them are sound."""
    import pyarrow.parquet

    with decoding(file, "an archive written by `hfbench export`"):
        stated = (pyarrow.parquet.read_metadata(io.BytesIO(held)).metadata or {}).get(DIGEST)
        table = read_table(held)
        table.validate(full=True)
    if not _is_readable(table.schema):
        raise StoreError(f"{_wanted(file)}, but its columns differ.")
    rows: dict[Identity, _Row] = {}
    for index in range(len(table)):
        try:
            row = _checked_row({name: table[name][index] for name in table.schema.names})
        except StoreError as error:
            raise StoreError(f"{_wanted(file)}, but run {index + 1} of {len(table)} is damaged: {error}") from error
        if rows.setdefault(_identity(row.config), row) is not row:
            raise StoreError(f"{_wanted(file)}, but it holds {'/'.join(map(str, _identity(row.config)))} twice.")
    if stated is not None and (len(stated) != len(UNSET) or _with_digest(held, stated) != held):
        raise StoreError(f"{_wanted(file)}, but its contents do not have the sha256 that it states.")
    return rows


def _is_readable(schema: pa.Schema) -> bool:
    """True if a table has an archive's columns; its traces may lack columns that a later version added."""
    import pyarrow as pa

    ours = _schema()
    if schema.names != ours.names or any(schema.field(name) != ours.field(name) for name in schema.names[:-1]):
        return False
    rows, known = schema.field("trace").type, ours.field("trace").type.value_type
    return pa.types.is_list(rows) and pa.types.is_struct(rows.value_type) and set(rows.value_type) <= set(known)


def _checked_row(row: Mapping[str, pa.Scalar]) -> _Row:
    """The record in a row. Raises StoreError if it is not sound."""
    key, ended = row["key"].as_py(), row["ended"].as_py()
    if not is_safe_name(key):
        raise StoreError(f"key must be letters, digits, '.', '_' and '-', but is {quoted(key)}.")
    if ended is None or not 0 <= ended < LATEST:
        raise StoreError(f"ended must be seconds of the system's clock, but is {ended}.")
    config, result = (_object(row[name].as_py() or "", name) for name in ("config", "result"))
    check_config(config, "config")
    check_result(result, key, config, "result")
    steps = _steps(row["trace"])
    if result["outcome"] in COMPLETE:
        check_trace(steps, result, config)
    return _Row(key, config, result, ended, steps)


def _object(text: str, name: str) -> dict[str, Any]:
    if len(text) > LONGEST:
        raise StoreError(f"{name} must have at most {LONGEST} characters, but has {len(text)}.")
    return json_object(text, name)


def _steps(rows: pa.ListScalar) -> pa.Table:
    """The trace in a row."""
    import pyarrow as pa

    with decoding("trace", "the rows of a trace"):
        if rows.values is None or rows.values.null_count:
            raise ValueError("some are null")
        return completed(pa.Table.from_batches([pa.RecordBatch.from_struct_array(rows.values)]))
