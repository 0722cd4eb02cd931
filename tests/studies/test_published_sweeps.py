"""The sweeps published with hfbench: what was frozen follows from the trials as they were committed."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hfbench.config.load import load_study
from hfbench.config.to_toml import toml
from hfbench.records import archive
from hfbench.records.files import read_json
from hfbench.sweep.frozen_studies import carry_over_study
from hfbench.sweep.retest import candidates, select
from hfbench.sweep.trials import Trial

RESULTS = Path(str(resources.files("hfbench.studies"))) / "results"
PUBLISHED = sorted(file.parent.name for file in RESULTS.glob("*/sweep.json"))


def made(table: pd.DataFrame, sweep: Any) -> tuple[dict[int, Trial], dict[int, Any]]:
    """The trials of a task, and what those tested again came to."""
    trials, again = {}, {}
    for index, rows in table.groupby("trial"):
        by_stage: dict[str, Any] = {"tuning": {}, "again": {}}
        for row in rows.to_dict("records"):
            by_stage[row["stage"]][row["seed"]] = {one: row[one] for one in (*sweep.measures, "seconds")}
        params = {path: rows.iloc[0][path] for path in sweep.parameters}
        trials[index] = Trial(index, index, params, rows.iloc[0]["state"], "", "", by_stage["tuning"])
        if by_stage["again"]:
            again[index] = by_stage["again"]
    return trials, again


def test_something_is_published() -> None:
    assert "thresholds" in PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_frozen_follows_from_the_published_trials(name: str) -> None:
    summary, study = read_json(RESULTS / name / "sweep.json") or {}, load_study(name)
    (sweep,) = study.sweeps
    table = pd.read_parquet(RESULTS / name / "trials.parquet")
    assert list(summary["frozen"]) == list(sweep.tasks) == list(table["task"].unique())
    found = {}
    for task, said in summary["frozen"].items():
        trials, again = made(table[table["task"] == task], sweep)
        assert len(trials) == sweep.trials
        chosen = candidates(trials, sweep)
        found[task] = select(chosen, again, trials[0], sweep)
        assert (found[task].index, dict(found[task].params)) == (said["trial"], said["settings"])
        assert [one.to_row() for one in found[task].candidates] == [pytest.approx(row) for row in said["tested_again"]]
        assert {len(of) for of in again.values()} == {len(sweep.retest)}
    drafted = carry_over_study(study, sweep, found)
    assert drafted is not None
    assert toml(drafted, Path()) == toml(load_study(f"{name}-frozen"), Path())
    assert archive.published(f"{name}-frozen") is not None
