"""Time to list, compare and log a thousand finished runs.

The runs of five tasks, ten methods and twenty seeds are invented, but they are written, read, judged, drawn and logged
like real ones.
"""

from __future__ import annotations

import io
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from hfbench.commands.compare import compare_study
from hfbench.config.load import load_study
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.records.recorded_study import gather
from hfbench.records.run_folder import RunFolder
from hfbench.report import study_figures
from hfbench.runs.attempt import identity
from hfbench.statistics.findings import findings_of
from hfbench.tracking.study_tracker import tracker_of

from .overhead import replaced
from .runner import Options, Row

TITLE = "What a thousand finished runs cost"
COLUMNS = {"what": "what", "runs": "runs", "wall": "wall s", "processor": "processor s", "size": "MiB"}
STUDY = """
[study]
name = "thousand"
question = "How long do a thousand runs take to compare?"
tasks = [{tasks}]
seeds = {seeds}
budget = {{ passes = 1000 }}
baseline = "m0"
target_on = "test"
targets = {{ {targets} }}
"""
ITERATIONS = 100


def rows(options: Options) -> Iterator[Row]:
    quiet = Console(file=io.StringIO(), width=80)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        results = folder / "thousand"
        study = made_up(folder, *((1, 2, 7) if options.quick else (5, 10, 20)))
        clock = Timed()
        specs = clock("plan", lambda: {spec.key(): spec for spec in runs_of(study)})
        clock("write", lambda: write(specs, results))
        recorded = clock("read", lambda: gather(study, specs, results))
        found = clock("statistics", lambda: findings_of(recorded))
        with replaced([(study_figures, "draw_figures", lambda *of: [])]):
            clock("first compare, logs all of them; no figures", lambda: compare_study(study, results, None, quiet))
            clock("second compare, no figures", lambda: compare_study(study, results, None, quiet))
        clock("figures", lambda: study_figures.draw_figures(recorded, found, results / "studies" / "thousand"))
        tracker = clock("open the store", lambda: tracker_of(study, specs, results))
        logged = clock("search the runs in MLflow", tracker.logged)
        yield from ({"runs": len(specs), **row} for row in clock.rows)
        size = (results / "mlflow.db").stat().st_size / 2**20
        yield {"what": "MLflow's store", "runs": len(logged), "size": size}


class Timed:
    """Timer of calls; each is timed once and gives a row."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def __call__(self, what: str, call: Callable[[], Any]) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        value = call()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        self.rows.append({"what": what, "wall": wall, "processor": processor})
        return value


def made_up(folder: Path, tasks: int, methods: int, seeds: int) -> Study:
    names = [f"t{i}" for i in range(tasks)]
    listed, targets = ", ".join(f'"{name}"' for name in names), ", ".join(f"{name} = 10.0" for name in names)
    text = STUDY.format(tasks=listed, targets=targets, seeds=seeds)
    text += "".join(f'\n[tasks.{name}]\nuse = "curves-small"\ncases = {900 + i}\n' for i, name in enumerate(names))
    parts = 'preconditioner = "martens"\nscheduler = { use = "fixed", gradient = 1.0, curvature = 0.25 }\n'
    text += "".join(f'\n[methods.m{i}]\nsolver = "cg"\nmax_inner = {100 + i}\n{parts}' for i in range(methods))
    file = folder / "thousand.toml"
    file.write_text(text, "utf-8")
    return load_study(str(file))


def write(specs: dict[str, RunSpec], results: Path) -> None:
    for key, spec in specs.items():
        make_up(spec, key, results)


def make_up(spec: RunSpec, key: str, results: Path) -> None:
    """Writes a run of 100 iterations that reached its target at a cost that depends slightly on its method."""
    draw = random.Random(key)
    work = draw.lognormvariate(5 + 0.02 * int(spec.method.name[1:]), 0.2)
    trace = [
        {
            "iteration": i, "seconds": 0.05 * i, "work": work * i / 100, "products": work * i / 80, "damping": 45.0,
            "distinct_cases": 900, "batch_gradient": 900, "batch_curvature": 225, "train_objective_batch": 9.0,
            "validation_objective": 20 - i / 10, "validation_error": 20 - i / 10, "test_error": 20 - i / 10,
            "gradient_norm": 1.0, "inner_iterations": 30, "rho": 0.5, "q": -1.0, "step_length": 1.0,
            "batch_reason": "fixed", "stop_reason": "relative-progress", "peak_memory": 2**28,
        }
        for i in range(ITERATIONS + 1)
    ]  # fmt: skip
    costs = {name: trace[-1][name] for name in ("work", "products", "seconds")} | {"distinct": 1.0}
    result = identity(spec, key, "thousand") | costs | {f"{name}_to_target": cost for name, cost in costs.items()}
    ended = {"final_test_error": 10.0, "final_validation_error": 10.0, "final_objective": 9.0, "peak_memory": 2**28}
    folder = RunFolder(results, key)
    folder.create(spec.config())
    folder.finish(trace, result | ended | {"outcome": "reached", "error": None, "iterations": ITERATIONS})
