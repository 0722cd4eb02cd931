"""Stand-ins for a sweep's runs and storage: a noisy cost with a known optimum, in microseconds."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hfbench.config.sweep import Constraint, Sweep
from hfbench.parts.hyperparameters import Linear, Log
from hfbench.sweep.trials import FAILED, RUNNING, Trial
from hfbench.sweep.tuning import Tuning

PARAMETERS = {"a": Log(1e-3, 1.0), "b": Linear(0.0, 1.0)}
FIRST = {"a": 0.3, "b": 0.8}
BEST = {"a": 0.02, "b": 0.35}


def sweep(**changes: Any) -> Sweep:
    plain = Sweep(
        method="shf", tasks=("bowl",), parameters=dict(PARAMETERS), objectives=("work_to_target",), constraint=None,
        seeds=tuple(range(1000, 1005)), retest=tuple(range(2000, 2005)), trials=24, hours=None, passes={}, ahead=4,
        sampler="tpe", startup_trials=10, pruner="wilcoxon", candidates=5, carry_over=True,
    )  # fmt: skip
    return replace(plain, **changes)


def bound(measure: str, at_most: float) -> Constraint:
    return Constraint(measure, at_most)


@dataclass(frozen=True)
class Spec:
    """What `Tuning` asks of a run's specification."""

    params: Mapping[str, Any]
    seed: int
    budget: Mapping[str, float] = field(default_factory=lambda: {"passes": 1e4})
    target: float = 5.0
    target_on: str = "test"

    def key(self) -> str:
        return f"{sorted(self.params.items())}/{self.seed}"


class Bowl:
    """A task on which the log cost is a bowl over the settings, with noise of each seed and of each run."""

    name = label = file_name = "bowl"

    def __init__(self, of: Sweep, identity: str = "bowl", noise: float = 0.1) -> None:
        self.sweep, self.identity, self.noise, self.first = of, identity, noise, dict(FIRST)

    def spec(self, params: Mapping[str, Any], seed: int) -> Spec:
        return Spec(dict(params), seed)

    def true(self, params: Mapping[str, Any]) -> float:
        """The log cost without noise."""
        return 3 + 0.5 * math.log10(params["a"] / BEST["a"]) ** 2 + 2 * (params["b"] - BEST["b"]) ** 2

    def result(self, spec: Spec) -> dict[str, Any]:
        of_seed, of_run = random.Random(f"{self.identity}{spec.seed}"), random.Random(f"{self.identity}{spec.key()}")
        cost = math.exp(self.true(spec.params) + of_seed.gauss(0, 0.3) + of_run.gauss(0, self.noise))
        result = {"key": spec.key(), "outcome": "reached", "seconds": 60.0, "work": cost, "work_to_target": cost}
        return result | {
            "final_test_error": 10 * spec.params["b"] + 1,
            "distinct": 9.0,
            "distinct_to_target": 2 - spec.params["b"],
        }


class Memory:
    """The trials in this process's memory, with the interface of `Trials`."""

    def __init__(self) -> None:
        self.found: dict[int, Trial] = {}
        self.home = "here"

    def all(self) -> dict[int, Trial]:
        return dict(self.found)

    def begin(self, index: int, params: Mapping[str, Any], space: Any) -> Trial:
        self.found[index] = Trial(index, index, dict(params), RUNNING, self.home, str(index), {})
        return self.found[index]

    def take_up(self, trial: Trial, space: Any) -> Trial:
        return trial

    def fail_the_silent(self) -> None:
        pass

    def record(self, trial: Trial, seed: int, measures: Mapping[str, float], score: float) -> None:
        before = self.found[trial.index]
        self.found[trial.index] = replace(before, measures={**before.measures, seed: dict(measures)})

    def end(self, trial: Trial, state: str, values: list[float], why: str = "") -> None:
        self.found[trial.index] = replace(self.found[trial.index], state=state, why=why if state == FAILED else "")


def tuned(task: Any, trials: Any, workers: int = 1, order: int = 0, stop_after: int | None = None) -> list[str]:
    """Makes the trials with so many workers whose runs end in an order drawn at random; the keys of the runs made.

    `stop_after` so many runs all that is under way is lost.
    """
    tuning, running, made = Tuning(task, trials), [], []
    draw = random.Random(order)
    while not tuning.over:
        running += tuning.ready(workers - len(running))
        if not running:
            raise AssertionError("nothing can begin, but the tuning is not over")
        _, spec = running.pop(draw.randrange(len(running)))
        made.append(spec.key())
        tuning.ended(task.result(spec), 10.0)
        if len(made) == stop_after:
            break
    return made
