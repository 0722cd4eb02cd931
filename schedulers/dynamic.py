"""Batches that grow when the gradient is too noisy or validation no longer improves.

Variance     ‖Var_i(∇f_i)‖₁/n · c <= theta²‖∇f_S‖² must hold for a batch S of
             n of N cases, c = (N - n)/(N - 1) with `correction`, else 1. If
             not, the next n is the smallest that would pass: without
             correction ‖Var_i(∇f_i)‖₁/(theta²‖∇f_S‖²)
Validation   the validation objective must decrease by the fraction `tolerance`
             over `window` steps. If not, the next n is growth·n. The window
             begins anew after each change of size
Limits       n never shrinks, grows at most by the factor `max_growth` per
             step (one case is always allowed), and ends at N
Source       variance test: Byrd, Chin, Nocedal and Wu (2012), section 3;
             validation test: as in arXiv 2504.13302. Its thresholds are not
             published, so all of them are hyper-parameters
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, final

from hfbench.errors import ConfigError
from hfbench.parts import BatchPlan, Choice, Evidence, Integers, Linear, Log, Within, cases, part
from hfbench.schedulers import growth

from .growth import smallest_batch


@final
@part
class Dynamic:
    """Batches that grow by gradient variance and validation."""

    needs: ClassVar[tuple[str, ...]] = ("variance_l1", "validation_objective")
    start: Annotated[float, Log(0.01, 0.5), Within("(0, 1] or [2, inf)"), "first batch: a fraction, or cases"] = 0.05
    theta: Annotated[float, Linear(0.1, 1.5), Within("(0, 1000]"), "noise allowed, relative to the gradient"] = 0.5
    tolerance: Annotated[float, Log(1e-4, 0.1), Within("[0, 1)"), "least relative decrease of validation"] = 0.01
    window: Annotated[int, Integers(1, 20), Within("[1, 1e6]"), "steps over which that decrease is measured"] = 5
    growth: Annotated[float, Linear(1.1, 3.0), Within("(1, 1000]"), "gamma: growth when validation stalls"] = 1.5
    max_growth: Annotated[float, Linear(1.5, 10.0), Within("(1, 1e9]"), "largest growth factor of one step"] = 4.0
    correction: Annotated[bool, "count a batch of all cases as free of noise: the factor (N - n)/(N - 1)"] = True
    curvature: Annotated[float, Linear(0.1, 1.0), Within("(0, 1]"), "curvature's fraction of the gradient's cases"] = (
        1.0
    )
    order: Annotated[str, Choice("random", "cyclic"), "a fresh permutation per step, or consecutive windows"] = "random"

    def begin(self, total: int) -> DynamicSchedule:
        """Starts at `start`, but with at least two cases, since one case has no variance."""
        return DynamicSchedule(self, total, max(2, cases(self.start, total, "start")))


@final
class DynamicSchedule:
    """Schedule of one run: the batch size, and the validation objectives since its last change."""

    def __init__(self, rules: Dynamic, total: int, batch: int) -> None:
        if total < 2:
            raise ConfigError(f"a growing batch needs at least two training cases, but there are {total}.")
        self.rules, self.total = rules, total
        self.batch, self.reason = batch, "start"
        self.validation: list[float] = []

    @property
    def plan(self) -> BatchPlan:
        return growth.plan(self.batch, self.rules.curvature, self.rules.order, self.reason)

    def next(self, evidence: Evidence) -> BatchPlan:
        """Applies both tests to the step's evidence; the reason is "variance+validation" if both fail."""
        wanted = {"variance": self._variance_test(evidence), "validation": self._validation_test(evidence)}
        fired = [name for name, size in wanted.items() if size > self.batch]
        most = max(math.floor(self.rules.max_growth * self.batch), self.batch + 1)
        batch = min(max(wanted.values()), most, self.total)
        if batch > self.batch:
            self.batch, self.reason = batch, "+".join(fired)
            self.validation = []
        else:
            self.reason = "full" if self.batch == self.total else "keep"
        return self.plan

    def _variance_test(self, evidence: Evidence) -> int:
        """The smallest batch that would pass, or the present one if it passes."""
        if evidence.variance_l1 is None:
            raise ConfigError("the dynamic scheduler needs the gradient's variance of every step, but got none.")
        allowed = (self.rules.theta * evidence.gradient_norm) ** 2
        return smallest_batch(evidence.variance_l1, allowed, self.batch, self.total, self.rules.correction)

    def _validation_test(self, evidence: Evidence) -> int:
        """growth·n if the objective fell by less than `tolerance`, relatively, over the window; else n."""
        if evidence.validation_objective is None:
            raise ConfigError("the dynamic scheduler needs the validation objective of every step, but got none.")
        self.validation = [*self.validation[-self.rules.window :], evidence.validation_objective]
        if len(self.validation) <= self.rules.window:
            return self.batch
        before, now = self.validation[0], self.validation[-1]
        if before - now >= self.rules.tolerance * abs(before):
            return self.batch
        return math.ceil(self.rules.growth * self.batch)

    def state_dict(self) -> dict[str, Any]:
        return {"batch": self.batch, "reason": self.reason, "validation": list(self.validation)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batch, self.reason = int(state["batch"]), str(state["reason"])
        self.validation = [float(value) for value in state["validation"]]
