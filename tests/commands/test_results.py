"""Results of a study as tables: those that `compare` reports, without anything run or reported."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import hfbench
from hfbench.commands.results import StudyResults
from hfbench.errors import ConfigError, StoreError
from hfbench.records.files import read_json


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return hfbench.results("architectures", tmp_path_factory.mktemp("results"), from_="published")


def test_runs_and_comparisons_are_those_of_the_published_report(published: StudyResults) -> None:
    table = read_json(Path(hfbench.__file__).parents[1] / "studies/results/architectures/comparisons.json") or {}
    assert len(published.runs) == sum(table["runs"].values())
    assert published.missing == []
    named = published.comparisons.set_index(["task", "method"])
    assert len(named) == len(table["comparisons"])
    for row in table["comparisons"]:
        found = named.loc[(row["task"], row["method"])]
        assert found["verdict"] == row["verdict"]
        assert found["sentence"] == row["sentence"]
    assert set(published.secondary["task"]) == set(published.runs["task"])
    assert "architectures" in repr(published)


def test_traces_have_every_step_of_every_run(published: StudyResults) -> None:
    traces, runs = published.traces, published.runs
    assert list(traces.columns[:4]) == ["task", "method", "seed", "iteration"]
    last = traces.groupby(["task", "method", "seed"])["iteration"].max()
    ended = runs.set_index(["task", "method", "seed"])["iterations"]
    pd.testing.assert_series_equal(last.sort_index(), ended.sort_index(), check_names=False, check_dtype=False)
    first = traces[traces["iteration"] == 0]
    assert first["work"].eq(0).all()
    assert first["test_error"].gt(0).all()


def test_what_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none of the \d+ runs of quickstart is recorded in"):
        hfbench.results("quickstart", tmp_path, seeds=3)
    with pytest.raises(ConfigError, match="study"):
        hfbench.results(str(tmp_path / "missing.toml"), tmp_path)
    assert list(tmp_path.iterdir()) == []
