"""The sweeps published with hfbench: what was frozen follows from the trials as they were committed."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hfbench.config.load import load_study
from hfbench.config.sweep import Sweep
from hfbench.config.to_toml import toml
from hfbench.parts.hyperparameters import Choice, Integers, Search
from hfbench.records import archive
from hfbench.records.files import read_json
from hfbench.sweep.frozen_studies import carry_over_study, tuned_study
from hfbench.sweep.retest import Winner, candidates, select
from hfbench.sweep.trials import Trial

RESULTS = Path(str(resources.files("hfbench.studies"))) / "results"
PUBLISHED = sorted(file.parent.name for file in RESULTS.glob("*/sweep.json"))


def setting(value: Any, search: Search) -> Any:
    """A setting with its own type, which a column that other methods leave empty does not keep."""
    if isinstance(search, Choice):
        return next(one for one in search.values if one == value)
    return int(value) if isinstance(search, Integers) else float(value)


def made(table: pd.DataFrame, sweep: Any) -> tuple[dict[int, Trial], dict[int, Any]]:
    """The trials of a task, and what those tested again came to."""
    trials, again = {}, {}
    for index, rows in table.groupby("trial"):
        by_stage: dict[str, Any] = {"tuning": {}, "again": {}}
        for row in rows.to_dict("records"):
            by_stage[row["stage"]][row["seed"]] = {
                one: row[one] for one in (*sweep.measures, "seconds", "passes") if one in row
            }
        params = {path: setting(rows.iloc[0][path], search) for path, search in sweep.parameters.items()}
        trials[index] = Trial(index, index, params, rows.iloc[0]["state"], "", "", by_stage["tuning"])
        if by_stage["again"]:
            again[index] = by_stage["again"]
    return trials, again


def test_something_is_published() -> None:
    assert "thresholds" in PUBLISHED


def winner_on(task: str, said: dict[str, Any], table: pd.DataFrame, sweep: Sweep) -> Winner:
    """The winner that follows from the rows of a task's trials, after a look that the summary says the same of it."""
    trials, again = made(table, sweep)
    if sweep.passes:  # the last trial began within them, and another one would not have
        taken = [sum(values["passes"] for values in trials[index].measures.values()) for index in sorted(trials)]
        last, another = (
            n / (n - sweep.ahead + 1) * sum(taken[: n - sweep.ahead + 1]) for n in (len(taken) - 1, len(taken))
        )
        assert last < sweep.passes[task] <= another
    else:
        assert len(trials) == sweep.trials
    found = select(candidates(trials, sweep), again, trials[0], sweep)
    assert (found.index, dict(found.params)) == (said["trial"], said["settings"])
    assert [one.to_row() for one in found.candidates] == [pytest.approx(row) for row in said["tested_again"]]
    assert {len(of) for of in again.values()} == {len(sweep.retest)}
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_frozen_follows_from_the_published_trials(name: str) -> None:
    summary, study = read_json(RESULTS / name / "sweep.json") or {}, load_study(name)
    table, several = pd.read_parquet(RESULTS / name / "trials.parquet"), len(study.sweeps) > 1
    frozen: dict[str, dict[str, Winner]] = {}
    for sweep in study.sweeps:
        for task in sweep.tasks:
            said = summary["frozen"][f"{sweep.method} on {task}" if several else task]
            rows = table[table["task"] == task]
            rows = rows[rows["method"] == sweep.method] if several else rows
            frozen.setdefault(sweep.method, {})[task] = winner_on(task, said, rows, sweep)
    assert len(summary["frozen"]) == sum(len(of) for of in frozen.values())
    drafted = (
        tuned_study(study, frozen)
        if several
        else carry_over_study(study, study.sweeps[0], frozen[study.sweeps[0].method])
    )
    assert drafted is not None
    assert toml(drafted, Path()) == toml(load_study(f"{name}-frozen"), Path())
    assert archive.published(f"{name}-frozen") is not None
