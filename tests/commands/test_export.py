"""`hfbench export`: of nothing it writes nothing, and of a damaged record neither."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.made_records import records
from support.tiny_study import specs, tiny, uses_mlflow

from hfbench.commands import export
from hfbench.errors import StoreError
from hfbench.records.archive import archived_contents

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


def test_nothing_recorded_is_nothing_to_export(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "none.parquet"
    with pytest.raises(StoreError, match="none of the runs of tiny is recorded"):
        export.export_study(tiny(tmp_path), results, None, Console(file=io.StringIO()), file)
    assert not file.exists()


def test_a_damaged_record_is_named_and_not_exported(tmp_path: Path) -> None:
    study, results, file = tiny(tmp_path), tmp_path / "results", tmp_path / "some.parquet"
    folder = next(iter(records(study, results).values()))
    folder.trace_path.write_bytes(folder.trace_path.read_bytes()[:-9])
    screen = io.StringIO()
    export.export_study(study, results, None, Console(file=screen, width=80), file)
    assert f"is set aside: runs/{folder.key}: trace.parquet must have the sha256" in screen.getvalue()
    assert f"3 of 4 runs of tiny written to {file}" in screen.getvalue()
    planned = {spec.key(): spec for spec in specs(study).values()}
    assert archived_contents(file, planned).keys() == planned.keys() - {folder.key}
