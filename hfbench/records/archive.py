"""Archive: all records of a study in one file, to publish, to send, and to read with another version of the code.

An archive has a row per run: its key, its configuration and result as JSON, the time it ended, and its trace, a list
with a row per outer iteration. All runs of an archive come from one version of the code. When an archive is read, runs
are identified by their configurations, since another version would give other keys. Pictures of test cases are left
out, because they are part of the data.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfbench.config.run_spec import RunSpec
from hfbench.errors import StoreError
from hfbench.records import trace
from hfbench.records.files import read_json, safe_name, write_atomically
from hfbench.records.recorded_study import RecordedStudy, same_settings
from hfbench.records.run_folder import Contents, RunFolder

if TYPE_CHECKING:
    import pyarrow as pa


def write_archive(recorded: RecordedStudy, file: Path) -> int:
    """Writes every ended run to `file` and returns their number. Raises StoreError if there is none, or no folder."""
    import pyarrow as pa
    import pyarrow.parquet

    if not recorded.ended:
        raise StoreError(
            f"none of the runs of {recorded.study.name} is recorded in {recorded.results}: nothing to write."
        )
    if not file.absolute().parent.is_dir():
        raise StoreError(f"{file} must lie in a folder that exists, but there is no {file.parent}.")
    rows = [_packed(recorded.folder(key)) for key in recorded.ended]
    table = pa.Table.from_pylist(rows, schema=_schema())
    write_atomically(file.absolute(), lambda path: pyarrow.parquet.write_table(table, path, compression="zstd"))
    return len(rows)


def published(study: str) -> Path | None:
    """The archive that is shipped for a study, or None."""
    file = Path(str(resources.files("hfbench.studies") / "results" / study / "records.parquet"))
    return file if file.is_file() else None


def unpack(file: Path, name: str, planned: Mapping[str, RunSpec], results: Path) -> tuple[Path, dict[str, RunSpec]]:
    """Unpacks an archive below `results`; returns the folder, and the planned runs by their keys there.

    A run that the archive does not hold, or holds with other settings, keeps its key. Records already in the folder are
    not changed. Raises StoreError, before anything is written, if the file cannot be read, is no archive, or holds none
    of the planned runs.
    """
    rows = {row["key"]: row for row in _read(file)}
    configs = {key: json.loads(row["config"]) for key, row in rows.items()}
    keys = {_identity(config): key for key, config in configs.items()}
    specs, held = {}, 0
    for own, spec in planned.items():
        config = spec.config()
        key = keys.get(_identity(config))
        if key is None or not same_settings(configs[key], config):
            specs[own] = spec
        else:
            specs[key] = spec
            held += 1
    if not held:
        raise StoreError(f"{file} holds {len(rows)} runs, but none of the {len(planned)} of {name} with its settings.")
    folder = results / "archives" / f"{safe_name(name)}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"
    for key, row in rows.items():
        _unpack(RunFolder(folder, key), configs[key], row)
    return folder, specs


def archived_contents(file: Path, planned: Mapping[str, RunSpec]) -> dict[str, Contents]:
    """Contents of the planned runs that the archive holds under the same keys. Raises StoreError for another file."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="hfbench-import-") as temporary:
        for row in _read(file):
            if row["key"] in planned:
                folder = RunFolder(Path(temporary), row["key"])
                _unpack(folder, json.loads(row["config"]), row)
                found[row["key"]] = folder.contents()
    return found


def _identity(config: Mapping[str, Any]) -> tuple[str, str, int]:
    return config["task"], config["method"]["name"], config["seed"]


# ---------------------------------------------------------------- rows


def _packed(folder: RunFolder) -> dict[str, Any]:
    return {
        "key": folder.key,
        "config": json.dumps(read_json(folder.path / "config.json")),
        "result": json.dumps(folder.result()),
        "ended": (folder.path / "result.json").stat().st_mtime,
        "trace": folder.rows() if folder.trace_path.exists() else [],
    }


def _unpack(folder: RunFolder, config: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    if folder.result() is not None:
        return
    folder.create(config)
    folder.finish(row["trace"], json.loads(row["result"]))
    os.utime(folder.path / "result.json", (row["ended"], row["ended"]))


def _schema() -> pa.Schema:
    """The columns of an archive."""
    import pyarrow as pa

    steps = pa.list_(pa.struct(list(trace.arrow_table([]).schema)))
    columns = {"key": pa.string(), "config": pa.string(), "result": pa.string(), "ended": pa.float64(), "trace": steps}
    return pa.schema(list(columns.items()))


def _is_readable(schema: pa.Schema) -> bool:
    """True if a table has an archive's columns; its traces may lack columns that a later version added."""
    import pyarrow as pa

    ours = _schema()
    if schema.names != ours.names or any(schema.field(name) != ours.field(name) for name in schema.names[:-1]):
        return False
    rows, known = schema.field("trace").type, ours.field("trace").type.value_type
    return pa.types.is_list(rows) and pa.types.is_struct(rows.value_type) and set(rows.value_type) <= set(known)


def _read(file: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet

    wanted = f"{file} must be an archive written by `hfbench export`, but"
    try:
        table = pyarrow.parquet.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{wanted}: {str(error).rstrip('.')}.") from error
    if not _is_readable(table.schema):
        raise StoreError(f"{wanted} its columns differ.")
    return list(table.to_pylist())
