"""The run of a sweep in MLflow: how it ended, whatever ended it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support import tiny_sweep
from support.tiny_study import mlflow_runs, uses_mlflow

from hfbench.config.load import load_study
from hfbench.errors import StoreError
from hfbench.records.study_home import home_of
from hfbench.sweep.mlflow_log import logged

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (StoreError, "FAILED")])
def test_a_sweep_that_is_ended_is_not_left_under_way(
    error: type[BaseException], status: str, results: Path, tmp_path: Path
) -> None:
    study = load_study(str(tiny_sweep.study_file(tmp_path)))
    seen = list[str]()

    def look() -> None:
        seen.extend(run.info.status for run in mlflow_runs(results))

    def sweep() -> None:
        with logged(study, [], home_of(study, results), results, Console(file=io.StringIO())):
            look()
            raise error

    with pytest.raises(error):
        sweep()
    look()
    assert seen == ["RUNNING", status]
