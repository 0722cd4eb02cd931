"""`hfbench export`: of nothing it writes nothing."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.tiny_study import tiny, uses_mlflow

from hfbench.commands import export
from hfbench.errors import StoreError

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


def test_nothing_recorded_is_nothing_to_export(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "none.parquet"
    with pytest.raises(StoreError, match="none of the runs of tiny is recorded"):
        export.export_study(tiny(tmp_path), results, None, Console(file=io.StringIO()), file)
    assert not file.exists()
