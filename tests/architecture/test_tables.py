"""Single declarations: a column or a measure added in one line is in records, MLflow, figures and the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from sitegen import trace_page
from support.tiny_study import run_quietly, specs, tiny, trace_of, uses_mlflow

from hfbench.config.measures import MEASURES, Measure
from hfbench.figures.axes import label
from hfbench.hessian_free.step_result import StepResult
from hfbench.records.run_folder import RunFolder
from hfbench.records.trace import COLUMNS, Column
from hfbench.statistics.exploratory import secondary
from hfbench.tracking.local_store import local_uri

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


@pytest.mark.slow
def test_a_column_of_one_line_is_in_trace_mlflow_figure_and_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = StepResult.to_row
    monkeypatch.setattr(StepResult, "to_row", lambda self: {**told(self), "twice_q": 2 * self.q})
    column = Column(name="twice_q", type=float, meaning="two q", metric="opt/twice_q", label="2q", of_step=True)
    monkeypatch.setitem(COLUMNS, column.name, column)

    study = tiny(tmp_path)
    assert run_quietly(study, tmp_path / "results")[0] == 0
    spec = next(iter(specs(study).values()))
    rows = trace_of(spec, tmp_path / "results")
    assert rows["twice_q"][1:].tolist() == (2 * rows["q"][1:]).tolist()
    run = logged(tmp_path / "results", study.name, spec.key())
    assert run.data.metrics["opt/twice_q"] == rows["twice_q"].iloc[-1]
    assert label("twice_q") == "2q"
    assert "| `twice_q` | number | two q | `opt/twice_q` |" in trace_page.page()


@pytest.mark.slow
def test_a_measure_of_one_line_is_in_result_mlflow_statistics_figure_and_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Measure(
        name="cases_to_target", title="cases to target", noun="the cases", short="cases", label="cases (n)",
        spent="cases_spent", column="cases_gradient",
    )  # fmt: skip
    monkeypatch.setitem(MEASURES, measure.name, measure)

    study = tiny(tmp_path)
    assert run_quietly(study, tmp_path / "results")[0] == 0
    results = {key: RunFolder(tmp_path / "results", spec.key()).result() for key, spec in specs(study).items()}
    for (method, seed), spec in specs(study).items():
        rows, result = trace_of(spec, tmp_path / "results"), results[method, seed]
        assert result is not None
        assert result["cases_spent"] == rows["cases_gradient"].iloc[-1]
        assert result["cases_to_target"] == (result["cases_spent"] if result["outcome"] == "reached" else None)
    child = logged(tmp_path / "results", study.name, next(iter(specs(study).values())).key())
    first = next(iter(results.values()))
    assert first is not None
    assert child.data.metrics["summary/cases_spent"] == first["cases_spent"]
    explored = secondary(pd.DataFrame(results.values()), study.baseline, study.primary)
    assert measure.name in {one.measure for one in explored}
    assert label("cases_to_target") == "cases (n)"
    assert "| `cases_to_target` | cases to target | `cases_spent` | – |" in trace_page.page()


def logged(results: Path, study: str, key: str) -> Any:
    """The MLflow run of a run."""
    client = MlflowClient(tracking_uri=local_uri(results))
    experiment = client.get_experiment_by_name(study)
    (run,) = client.search_runs([experiment.experiment_id], f"tags.run_key = '{key}'")
    return run
