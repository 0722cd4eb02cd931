"""What records cost a run, and how long a thousand finished runs take to list and to compare.

    python benchmarks/tracking.py [--task curves-small curves] [--iterations 400] [--seconds 0.1] [--no-thousand]

A run of real steps, each padded to the same length, is made by `hfbench run`'s own code: trace, checkpoints, reports,
points while it runs, the final record. The time in these calls, wherever they are made, is a share of the run's wall
time; on a busy machine the processor time of the calls says what their wall time hides. The thousand runs are made up,
but written, read, judged, drawn and logged as any other.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from hfbench.config import Study, load_study
from hfbench.experiment import LiveRun, identity
from hfbench.runspec import RunSpec, plan
from hfbench.store import RunFolder
from hfbench.studies import pictures
from hfbench.studies.compare import compare_study
from hfbench.studies.findings import find
from hfbench.studies.recorded import gather
from hfbench.studies.run import run_study, tracker_of
from hfbench.tracking import Tracker

RECORDING = [
    *((RunFolder, name) for name in ("create", "reopen", "report", "progress", "save_checkpoint", "finish", "result")),
    *((LiveRun, name) for name in ("_record", "progress", "state_dict")),
    *((Tracker, name) for name in ("log_row", "log_run")),
]
QUIET = Console(file=io.StringIO(), width=80)

LONG = """
[study]
name = "long"
question = "What do records cost?"
tasks = ["padded"]
seeds = 1
budget = {{ iterations = {iterations} }}
baseline = "lsmr"
targets = {{ padded = 1e-9 }}

[tasks.padded]
use = "{task}"
cases = 1000

[methods.lsmr]
solver = "lsmr"
preconditioner = "martens"
max_inner = 3
scheduler = {{ use = "fixed", gradient = 0.02, curvature = 0.02 }}
"""

THOUSAND = """
[study]
name = "thousand"
question = "How long do a thousand runs take to compare?"
tasks = [{tasks}]
seeds = 20
budget = {{ passes = 1000 }}
baseline = "m0"
targets = {{ {targets} }}
"""


# ---------------------------------------------------------------- a run


class Spent:
    """Seconds in wrapped calls, by name: on the wall, and of the processor; calls within calls are counted once."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._inside = threading.local()

    def wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*of: Any, **more: Any) -> Any:
            if getattr(self._inside, "now", False):
                return call(*of, **more)
            self._inside.now = True
            wall, processor = time.perf_counter(), time.thread_time()
            try:
                return call(*of, **more)
            finally:
                self._inside.now = False
                self.wall[name] += time.perf_counter() - wall
                self.processor[name] += time.thread_time() - processor
                self.calls[name] += 1

        return timed


@contextlib.contextmanager
def replaced(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, new in changes:
        setattr(owner, name, new)
    try:
        yield
    finally:
        for owner, name, old in before:
            setattr(owner, name, old)


def padded(advance: Callable[[LiveRun], None], seconds: float, step: list[float]) -> Callable[[LiveRun], None]:
    def longer(run: LiveRun) -> None:
        start = time.perf_counter()
        advance(run)
        step.append(time.perf_counter() - start)
        time.sleep(max(0.0, seconds - step[-1]))

    return longer


def of_a_run(task: str, iterations: int, seconds: float, folder: Path) -> None:
    file = folder / f"{task}.toml"
    file.write_text(LONG.format(task=task, iterations=iterations))
    spent, steps = Spent(), list[float]()
    calls = [(owner, name, spent.wrapped(name, getattr(owner, name))) for owner, name in RECORDING]
    bare = [(LiveRun, "advance", padded(LiveRun.advance, seconds, steps)), (pictures, "draw", lambda *of: [])]
    with replaced(bare + calls):
        run_study(load_study(str(file)), folder / task, 1, None, QUIET)
    wall = iterations * seconds + sum(max(0.0, step - seconds) for step in steps)
    real = 1e3 * sum(steps) / len(steps)
    print(f"\n{task}: {iterations} iterations of {1e3 * seconds:.0f} ms, {real:.0f} ms of it real")
    print(f"{'call':>16} {'calls':>6} {'wall ms':>9} {'processor ms':>13}")
    for name in sorted(spent.wall, key=lambda one: -spent.wall[one]):
        print(f"{name:>16} {spent.calls[name]:>6} {1e3 * spent.wall[name]:>9.0f} {1e3 * spent.processor[name]:>13.0f}")
    shares = (100 * sum(of.values()) / wall for of in (spent.wall, spent.processor))
    print("share of the run's time: {:.2f} % by the wall, {:.2f} % of processor time".format(*shares))


# ---------------------------------------------------------------- a thousand runs


def thousand(folder: Path) -> Study:
    """5 tasks, 10 methods, 20 seeds."""
    tasks = [f"t{i}" for i in range(5)]
    text = THOUSAND.format(tasks=", ".join(f'"{t}"' for t in tasks), targets=", ".join(f"{t} = 10.0" for t in tasks))
    text += "".join(f'\n[tasks.{task}]\nuse = "curves-small"\ncases = {1000 + i}\n' for i, task in enumerate(tasks))
    parts = 'preconditioner = "martens"\nscheduler = { use = "fixed", gradient = 1.0, curvature = 0.25 }\n'
    text += "".join(f'\n[methods.m{i}]\nsolver = "cg"\nmax_inner = {100 + i}\n{parts}' for i in range(10))
    file = folder / "thousand.toml"
    file.write_text(text)
    return load_study(str(file))


def make_up(spec: RunSpec, key: str, results: Path) -> None:
    """A run of 100 iterations that reached its target at a cost that depends a little on its method."""
    draw = random.Random(key)
    work = draw.lognormvariate(5 + 0.02 * int(spec.method.name[1:]), 0.2)
    rows = [
        {
            "iteration": i, "seconds": 0.05 * i, "work": work * i / 100, "products": work * i / 80, "damping": 45.0,
            "distinct_cases": 900, "batch_gradient": 900, "batch_curvature": 225, "train_objective_batch": 9.0,
            "validation_objective": 20 - i / 10, "validation_error": 20 - i / 10, "test_error": 20 - i / 10,
            "gradient_norm": 1.0, "inner_iterations": 30, "rho": 0.5, "q": -1.0, "step_length": 1.0,
            "batch_reason": "fixed", "stop_reason": "relative-progress", "peak_memory": 2**28,
        }
        for i in range(101)
    ]  # fmt: skip
    costs = {"work": work, "products": work * 1.25, "seconds": 5.0, "distinct": 1.0}
    result = identity(spec, key, "thousand") | costs | {f"{name}_to_target": cost for name, cost in costs.items()}
    ended = {"final_test_error": 10.0, "final_validation_error": 10.0, "final_objective": 9.0, "peak_memory": 2**28}
    folder = RunFolder(results, key)
    folder.create(spec.config())
    folder.finish(rows, result | ended | {"outcome": "reached", "error": None, "iterations": 100})


def of_a_thousand_runs(folder: Path) -> None:
    results, study = folder / "thousand", thousand(folder)
    specs = timed("plan", lambda: {spec.key(): spec for spec in plan(study)})
    timed("write", lambda: [make_up(spec, key, results) for key, spec in specs.items()])
    recorded = timed("gather", lambda: gather(study, specs, results))
    found = timed("statistics", lambda: find(recorded))
    with replaced([(pictures, "draw", lambda *of: [])]):
        timed("first compare, all logged in it, no figures", lambda: compare_study(study, results, None, QUIET))
        timed("second compare, no figures", lambda: compare_study(study, results, None, QUIET))
    timed("figures", lambda: pictures.draw(recorded, found, results / "studies" / "thousand"))
    tracker = timed("open the store", lambda: tracker_of(study, specs, results))
    children = timed("search the runs in MLflow", tracker.logged)
    size = (results / "mlflow.db").stat().st_size / 2**20
    print(f"{len(children)} runs in MLflow, {size:.0f} MiB")


def timed(what: str, call: Callable[[], Any]) -> Any:
    wall, processor = time.perf_counter(), time.process_time()
    value = call()
    spent = time.perf_counter() - wall, time.process_time() - processor
    print(f"{what:>45} {spent[0]:>8.2f} {spent[1]:>11.2f}", flush=True)
    return value


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--task", nargs="*", default=["curves-small", "curves"])
    options.add_argument("--iterations", type=int, default=400)
    options.add_argument("--seconds", type=float, default=0.1, help="of an iteration")
    options.add_argument("--no-thousand", action="store_true", help="only what records cost a run")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for task in given.task:
            of_a_run(task, given.iterations, given.seconds, Path(folder))
        if not given.no_thousand:
            print(f"\n{'1000 finished runs':>45} {'wall s':>8} {'processor s':>11}")
            of_a_thousand_runs(Path(folder))


if __name__ == "__main__":
    main()
