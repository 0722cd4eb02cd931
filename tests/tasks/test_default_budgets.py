"""Default budgets: Martens' method reaches the default target of every task within them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hfbench import registry
from hfbench.config.load import load_study
from hfbench.config.study_runs import runs_of
from hfbench.records.run_folder import RunFolder
from hfbench.runs.attempt import attempt

HF = """
[study]
name = "defaults"
question = "Does Martens' method reach the target?"
tasks = ["{task}"]
seeds = 1
baseline = "hf"

[methods.hf]
solver = "cg"
preconditioner = "martens"
scheduler = {{ use = "fixed", gradient = 1.0, curvature = 0.25 }}
"""
LONG = ("usps", "mnist-class", "mnist-conv")  # minutes
QUICK = ("addition", "curves-small", "digits", "digits-class")
NEEDS_DATA = [
    pytest.param("usps-class", marks=pytest.mark.data),
    *(pytest.param(task, marks=[pytest.mark.data, pytest.mark.long]) for task in LONG),
]


@pytest.mark.slow
@pytest.mark.parametrize("task", [*QUICK, pytest.param("curves", marks=pytest.mark.long), *NEEDS_DATA])
def test_one_seed_reaches_the_target(tmp_path: Path, task: str) -> None:
    (tmp_path / "defaults.toml").write_text(HF.format(task=task))
    (spec,) = runs_of(load_study(str(tmp_path / "defaults.toml")))
    part = registry.get("task", task)
    assert (spec.target, spec.budget) == (part().target, part.budget)
    assert attempt(spec, RunFolder(tmp_path, spec.key()))["outcome"] == "reached"


def test_a_published_run_on_all_of_mnist_reaches_the_target() -> None:
    """It takes hours on a CPU, and was made on a GPU."""
    file = resources.files("hfbench.studies") / "results" / "mnist-full" / "records.parquet"
    with resources.as_file(file) as path:
        runs = {json.loads(row["config"])["method"]["name"]: row["trace"] for row in pq.read_table(path).to_pylist()}
    task = registry.get("task", "mnist")
    for name in ("hf", "hf_lsmr", "shf"):
        works = [step["work"] for step in runs[name] if step["test_error"] <= task().target]
        assert works[0] <= task.budget["passes"] / 2, name
