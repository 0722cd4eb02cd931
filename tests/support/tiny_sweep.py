"""A sweep of seconds on generated data, run as it is typed, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from hfbench.records.files import read_json

TEXT = """
[study]
name = "tiny"
question = "Do <thresholds> matter?"
tasks = ["a", "b"]
seeds = 2
budget = { passes = 60 }
baseline = "shf"
targets = { a = 50.0, b = 50.0 }

[tasks.a]
use = "curves-small"
layers = [12, 4]
cases = 200
validation = 50

[tasks.b]
use = "curves-small"
layers = [10, 4]
cases = 150
validation = 50

[methods.shf]
solver = "lsmr"
preconditioner = "chapelle-erhan"
scheduler = { use = "dynamic", start = 0.2 }

[sweep]
method = "shf"
tasks = ["a"]
trials = 7
seeds = 4
retest = 2
candidates = 2
sampler = "tpe"
%s

[sweep.parameters]
scheduler.theta = {}
globalization.initial_damping = { low = 1, high = 100, log = true }
"""
SEVERAL = """
[study]
name = "several"
tasks = ["a", "b"]
seeds = 2
budget = { passes = 40 }
baseline = "adam"
targets = { a = 50.0, b = 50.0 }

[tasks.a]
use = "curves-small"
layers = [12, 4]
cases = 200

[tasks.b]
use = "curves-small"
layers = [10, 4]
cases = 150

[methods.adam]
optimizer = { use = "adam", lr = 1e-2, minibatch = 50 }
scheduler = { use = "fixed", gradient = 1.0, order = "random" }

[methods.shf]
solver = "lsmr"
preconditioner = "chapelle-erhan"
scheduler = { use = "fixed", curvature = 0.5 }

[methods.plain]
solver = "cg"
preconditioner = "identity"
scheduler = { use = "fixed", curvature = 0.5 }

[sweep]
methods = ["adam", "shf"]
passes = 500
seeds = 2
retest = 2
candidates = 2

[sweep.parameters.adam]
optimizer.lr = { low = 1e-3, high = 1e-1 }

[sweep.parameters.shf]
globalization.initial_damping = { low = 1, high = 100, log = true }
"""
# Figures take seconds, and have tests of their own.
PROGRAM = """
import sys
from hfbench.report import study_figures
from hfbench.sweep import conclusion
if "drawn" not in sys.argv[1]:
    study_figures.draw_figures = lambda *of: []
    conclusion._draw = lambda *of: []
sys.argv[1:2] = []
from hfbench.cli.main import main
main()
"""


def study_file(folder: Path, more: str = "") -> Path:
    file = folder / "tiny.toml"
    file.write_text(TEXT % more)
    return file


def several_file(folder: Path) -> Path:
    file = folder / "several.toml"
    file.write_text(SEVERAL)
    return file


def command(file: Path, results: Path, *options: str, drawn: bool = False) -> list[str]:
    kind = "drawn" if drawn else "undrawn"
    return [sys.executable, "-c", PROGRAM, kind, "sweep", str(file), "--results", str(results), *options]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | {"COLUMNS": "80"}


def swept(file: Path, results: Path, *options: str, drawn: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(file, results, *options, drawn=drawn), env=environment(), capture_output=True, text=True, check=False
    )


def runs(results: Path) -> dict[str, float]:
    """The work of every finished run, by name."""
    found = {}
    for folder in (results / "runs").iterdir():
        result = read_json(folder / "result.json")
        if result is not None:
            found[f"{result['method']}/{result['task']}/s{result['seed']}"] = result["work"]
    return found


def trials(results: Path) -> pd.DataFrame:
    """Of the tuning."""
    table = pd.read_parquet(results / "studies" / "tiny" / "trials.parquet")
    table = table[table["stage"] == "tuning"]
    return (
        table.drop(columns=["seconds", "passes", "method"])
        .sort_values(["task", "trial", "seed"])
        .reset_index(drop=True)
    )
