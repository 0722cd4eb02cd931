"""Seconds of training until USPS reaches test error 7.0, with batches of 1000 cases.

The clock counts the optimiser's steps and stops while the test error is evaluated after each. The gradient uses a fresh
random batch of 1000 cases at every step, the curvature a quarter of it, as in Martens' code. "tuned" are settings for
such batches: Martens' settings stop late and damp strongly, which suits full gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hfbench import HessianFree, registry
from hfbench.parts.protocols import BatchPlan, Task
from hfbench.runs.random_streams import generator

from .runner import Options, Row
from .timing import clock
from .training import Course

TITLE = "Time to test error 7.0 on USPS, with batches of 1000 cases"
COLUMNS = {
    "solver": "solver",
    "preconditioner": "preconditioner",
    "settings": "settings",
    "reached": "arrived",
    "seconds": "seconds",
    "passes": "passes",
    "products": "products",
    "steps": "steps",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "tuned": {
        "rules": [{"use": "relative-progress", "k_min": 3, "epsilon": 0.02}],
        "globalization": {"initial_damping": 5.0, "keep_start": 2},
    },
    "default": {},
}
CHAPELLE_ERHAN = {"use": "chapelle-erhan", "exponent": 0.9}
METHODS: tuple[tuple[str, Any, str], ...] = (
    ("lsmr", CHAPELLE_ERHAN, "tuned"),
    ("cg", CHAPELLE_ERHAN, "tuned"),
    ("cg", {"use": "martens"}, "tuned"),
    ("cg", {"use": "martens"}, "default"),
)
TASK, CASES, SEED = "usps", 1000, 0
TARGET, LIMIT = 7.0, 300.0
QUICK_TARGET, QUICK_LIMIT = 60.0, 30.0


def rows(options: Options) -> Iterator[Row]:
    target, limit = (QUICK_TARGET, QUICK_LIMIT) if options.quick else (TARGET, LIMIT)
    task: Task = registry.build("task", TASK)
    data = task.load(generator(SEED, "split"), options.data)
    plan = BatchPlan(CASES, CASES // 4, "random", "fixed")
    course = Course(task, data, plan, SEED, target, limit, clock(options.threads))
    for solver, preconditioner, settings in METHODS[:1] if options.quick else METHODS:
        optimizer = HessianFree(
            task.model(generator(SEED, "weights")),
            loss=task.loss,
            solver=solver,
            preconditioner=preconditioner,
            decay=task.decay,
            decay_mask=task.decay_mask,
            seed=generator(SEED, "probes"),
            **SETTINGS[settings],
        )
        outcome = course.run(optimizer.model, optimizer.step)
        yield {
            "solver": solver,
            "preconditioner": preconditioner["use"],
            "settings": settings,
            "reached": "yes" if outcome.reached else "no",
            "seconds": outcome.seconds,
            "passes": optimizer.ledger.work / len(data.train),
            "products": optimizer.ledger.products,
            "steps": outcome.steps,
        }
