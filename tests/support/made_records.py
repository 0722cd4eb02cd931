"""Records of a study's runs without training: made-up traces and results that fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.records.run_folder import RunFolder

CASES = 150  # to train on
VERSIONS = {"python": "3.11.0", "hfbench": "0.2.0", "torch": "2.6.0", "numpy": "2.0.0"}


def rows_of(spec: RunSpec, n: int = 5) -> list[dict[str, Any]]:
    """A trace of n steps whose last one reaches the target; another for every method and seed."""
    pace = 1.0 + 0.1 * spec.seed + 0.01 * len(spec.method.name)
    errors = [spec.target * (1 + (n - i) / n) for i in range(n)] + [spec.target * 0.99]
    first = {
        "iteration": 0, "seconds": 0.0, "work": 0.0, "products": 0.0, "cases_gradient": 0, "cases_curvature": 0,
        "distinct_cases": 0, "validation_error": errors[0], "test_error": errors[0], "peak_memory": 2**20,
    }  # fmt: skip
    steps = [
        {
            **first, "iteration": i, "seconds": 0.1 * i * pace, "work": 3.0 * i * pace, "products": 7.0 * i,
            "cases_gradient": 50 * i, "cases_curvature": 25 * i, "distinct_cases": min(40 * i, CASES),
            "batch_gradient": 50, "batch_curvature": 25, "batch_order": "random", "batch_reason": "fixed",
            "validation_error": errors[i] * 1.005, "test_error": errors[i], "rho": -np.inf if i == 2 else 0.5,
            "damping": 45.0, "gradient_norm": 1.0, "inner_iterations": 12, "chosen_iterate": 10,
            "stop_reason": "relative_progress",
        }
        for i in range(1, n + 1)
    ]  # fmt: skip
    for step in steps[:-1]:
        if step["iteration"] % spec.evaluate_every:
            step |= {"validation_error": None, "test_error": None}
    return [first, *steps]


def result_of(spec: RunSpec, key: str, rows: list[dict[str, Any]], study: str) -> dict[str, Any]:
    """The result that the trace leads to."""
    last = rows[-1]
    costs = {name: last[name] for name in ("work", "products", "seconds")} | {
        "distinct": last["distinct_cases"] / CASES
    }
    return {
        "key": key, "study": study, "task": spec.task, "method": spec.method.name, "seed": spec.seed, "threads": 1,
        "versions": VERSIONS, "outcome": "reached", "error": None, **costs, "iterations": last["iteration"],
        **{f"{name}_to_target": value for name, value in costs.items()}, "final_test_error": last["test_error"],
        "final_validation_error": last["validation_error"], "final_objective": 0.5, "peak_memory": last["peak_memory"],
        **({"test_error_at_target": last["test_error"]} if spec.target_on == "validation" else {}),
    }  # fmt: skip


def pictures() -> Mapping[str, Any]:
    shown = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)
    return {"originals": shown, "reconstructions": shown / 2, "errors": np.ones(2, np.float32)}


def record(spec: RunSpec, results: Path, study: str = "tiny", n: int = 5) -> RunFolder:
    """The record of one run of n steps, as its end leaves it."""
    folder, rows = RunFolder(results, spec.key()), rows_of(spec, n)
    folder.create(spec.config())
    folder.finish(rows, result_of(spec, folder.key, rows, study), pictures())
    return folder


def records(study: Study, results: Path) -> dict[str, RunFolder]:
    """The records of all runs of a study, by key."""
    return {spec.key(): record(spec, results, study.name) for spec in runs_of(study)}
