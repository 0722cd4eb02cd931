"""Study: a checked study file as frozen data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hfbench.config.ablation import Ablation
from hfbench.config.hypotheses import Hypothesis
from hfbench.config.methods import Method
from hfbench.config.sweep import Sweep
from hfbench.config.variant import StudyVariant
from hfbench.parts.hyperparameters import Choice, Within

TARGET_ON = ("validation", "test")
INTERVAL = Within("[1, 1e9]")  # of steps, from one evaluation to the next


@dataclass(frozen=True)
class OnTask:
    """Methods, seeds, budget and evaluations on one task, and the methods that have settings of their own there."""

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: dict[str, float]
    settings: dict[str, Method] = field(default_factory=dict)
    evaluate_every: int | None = None  # steps; None: as the task declares


@dataclass(frozen=True)
class Study:
    """Resolved plan of a comparison, fixed before the runs: tasks, methods, seeds, budgets, measure, margin and level.

    The budget is checked after each outer iteration, so that a run may overshoot it by one. A target reached beyond the
    budget counts as not reached; `statistics/run_costs.py` gives the bounds on the cost of such a run.
    """

    name: str
    question: str
    notes: str
    tasks: dict[str, dict[str, Any]]  # {"use": name, **settings} by the task's name in the study
    seeds: tuple[int, ...]
    budget: dict[str, float]  # among passes, seconds, products, iterations; empty: each task's own
    primary: str
    targets: dict[str, float]  # error per task
    target_on: str  # "validation" or "test": the cases whose error is held against the target
    margin: float  # > 1, on the ratio of costs
    alpha: float
    test: str  # "wilcoxon" or "sign"
    looks: tuple[int, ...]  # numbers of seeds at which it is judged; empty: once, on all of them
    baseline: str
    methods: dict[str, Method]
    precision: str  # "float32" or "float64"
    device: str  # "cpu", "cuda" or "cuda:<n>"
    stop_at_target: bool
    source: str  # path of the file, or "shipped"
    ablation: Ablation | None
    on: dict[str, OnTask]  # for every task, what the file's `[on.<task>]` leaves as it is filled in
    hypotheses: tuple[Hypothesis, ...]
    sweeps: tuple[Sweep, ...]  # of each method that `[sweep]` tunes
    plugins: tuple[str, ...]  # absolute paths of the files that added parts for it
    keep_weights: bool = False  # in each run's folder, those at its end
    variant: StudyVariant = StudyVariant()  # how the command line makes it another than its file

    def method_on(self, task: str, name: str) -> Method:
        """The method, with the settings that it has on the task."""
        return self.on[task].settings.get(name) or self.methods[name]

    def on_seeds(self, seeds: tuple[int, ...]) -> Study:
        """The study on these seeds of every task, in place of its file's."""
        on = {task: dataclasses.replace(part, seeds=seeds) for task, part in self.on.items()}
        own = tuple(part.seeds for part in self.on.values())
        variant = dataclasses.replace(self.variant, seeds=seeds, file_seeds=own)
        return dataclasses.replace(self, seeds=seeds, on=on, variant=variant)

    def first_seeds(self, n: int) -> Study:
        """The study on the first n seeds of every task."""
        on = {task: dataclasses.replace(part, seeds=part.seeds[:n]) for task, part in self.on.items()}
        return dataclasses.replace(self, seeds=self.seeds[:n], on=on)


def to_dict(study: Study) -> dict[str, Any]:
    """The study as plain data that JSON keeps unchanged."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(study))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Choice):
        return list(value.values)
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
