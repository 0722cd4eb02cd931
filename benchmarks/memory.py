"""Memory of a step: predicted, counted in tensors, and measured by the system; by layout, solver and streaming.

Every line is a separate process, so that no allocator keeps another's peak. It takes three steps of 15 inner iterations
(5 for all of MNIST). The first step does the one-time work, the second measures the growth of the process over its size
before the model was made, and the third counts tensors (`hfbench.memory.allocations`). The predicted, counted and
measured bytes cover the same: weights, batch, warm start and the tensors of the step. The shares of a case and of a
vector, as long as the weights, are slope and intercept of the prediction. Ratios are those of the counted bytes to the
line of the same network and solver with the structured layout and the whole batch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import torch

from hfbench import HessianFree
from hfbench.memory.allocations import Tally
from hfbench.memory.forecast import resident_bytes
from hfbench.runs.meters import PeakMemory, reset_peak_memory

from .problems import problem
from .runner import Options, Row

TITLE = "Memory of a step"
COLUMNS = {
    "task": "network",
    "solver": "solver",
    "setting": "setting",
    "cases": "cases",
    "told": "told MB",
    "counted": "held MB",
    "process": "seen MB",
    "per_case": "kB per case",
    "vectors": "vect.",
    "ratio": "ratio",
}
INNER = 15
PLAIN: dict[str, Any] = {}
FLAT = {"layout": "flat"}
NO_KEPT = {"globalization": {"backtracking": False}}
PRECONDITIONERS = {"cg": "martens", "lsmr": "chapelle-erhan", "lsqr": "chapelle-erhan"}


def rows(options: Options) -> Iterator[Row]:
    cases = 40 if options.quick else 1000
    chunk = {"chunk": cases // 4}
    settings = {"structured": PLAIN, "flat": FLAT, f"chunk {cases // 4}": chunk, "no iterates kept": NO_KEPT}
    few = {"structured": PLAIN, f"chunk {cases // 4}": chunk}
    yield from compare("mnist", "cg", cases, settings, options)
    if options.quick:
        return
    for solver in ("lsmr", "lsqr"):
        yield from compare("mnist", solver, cases, settings, options)
    yield from compare("mnist", "cg", 100, {"structured": PLAIN, "flat": FLAT}, options)
    yield from compare("mnist", "cg", 4000, {**few, "flat": FLAT}, options)
    for solver in ("cg", "lsmr"):
        yield from compare("mnist", solver, 60_000, {"max_bytes 4 GB": {"max_bytes": "4GB"}}, options, inner=5)
    for task in ("usps", "mnist-conv", "addition"):
        for solver in ("cg", "lsmr"):
            yield from compare(task, solver, cases, few, options)


def compare(
    task: str, solver: str, cases: int, settings: dict[str, dict[str, Any]], options: Options, inner: int = INNER
) -> Iterator[Row]:
    """A row per setting; the others are compared with the first."""
    first: float | None = None
    what = {"task": task, "solver": solver, "cases": cases, "inner": inner, "threads": options.threads}
    for name, setting in settings.items():
        found = apart(what | {"setting": setting})
        first = found["counted"] if first is None else first
        yield {
            "task": task,
            "solver": solver,
            "setting": name,
            "cases": cases,
            **found,
            "ratio": found["counted"] / first,
        }


def apart(what: dict[str, Any]) -> dict[str, float]:
    """`measured` in a separate process."""
    command = [sys.executable, "-m", __name__, json.dumps(what)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measured(what: dict[str, Any]) -> dict[str, float | None]:
    """Megabytes of a step as predicted, counted and measured, with the shares per case and per parameter."""
    torch.set_num_threads(what["threads"])
    reset_peak_memory()
    memory = PeakMemory()
    one = problem(what["task"], what["cases"])
    optimizer = HessianFree(
        one.model,
        one.loss,
        solver=what["solver"],
        preconditioner=PRECONDITIONERS[what["solver"]],
        rules=[],
        max_inner=what["inner"],
        **what["setting"],
    )
    optimizer.step(one.inputs, one.targets)
    with memory:
        result = optimizer.step(one.inputs, one.targets)
    warm = [state["warm_start"] for state in optimizer.state.values()]
    with Tally() as tally:
        optimizer.step(one.inputs, one.targets)
    parameters = resident_bytes(one.model, ())
    fixed, slope = _lines(optimizer, what["cases"])
    batch = resident_bytes(torch.nn.Module(), (one.inputs, one.targets))
    return {
        "told": (result.predicted_memory or 0) / 1e6,
        "counted": (resident_bytes(one.model, (one.inputs, one.targets, *warm)) + tally.peak) / 1e6,
        "process": memory.bytes / 1e6 if memory.bytes is not None else None,
        "per_case": (slope + batch / what["cases"]) / 1e3,
        "vectors": (parameters + fixed) / parameters,
    }


def _lines(optimizer: HessianFree, cases: int) -> tuple[float, float]:
    """Intercept and slope of the peak in the number of cases, without weights and batch."""
    (forecast,) = optimizer.forecasts.values()
    sizes = {"gradient": cases, "chunk": optimizer.chunk or 0}
    peak = forecast.peak(sizes)
    slopes = {name: (forecast.peak({**sizes, name: sizes[name] + 100}) - peak) / 100 for name in forecast.names}
    return peak - sum(slopes[name] * sizes[name] for name in slopes), sum(slopes.values())


if __name__ == "__main__":
    print(json.dumps(measured(json.loads(sys.argv[1]))))
