"""Batches that grow when the gradient is too noisy to descend along.

Formula    for a batch S of n of N cases, g_i the gradient of case i and g_S
           their mean, c = (N - n)/(N - 1) with `correction`, else 1:
           inner product   Var_i(g_iᵀg_S)/n · c <= theta²‖g_S‖⁴
           orthogonality   Var_i(g_i - (g_iᵀg_S/‖g_S‖²) g_S)/n · c <= nu²‖g_S‖²
           Var the sample variance, of a vector the sum over its entries. If
           one fails, the next n is the smallest that would pass both: without
           correction the larger of Var/(theta²‖g_S‖⁴) and Var/(nu²‖g_S‖²)
Limits     n never shrinks, grows at most by the factor `max_growth` per step
           (one case is always allowed), and ends at N
Source     Bollapragada, Byrd and Nocedal (2018), "Adaptive sampling strategies
           for stochastic optimization": the augmented inner product test, and
           theta and nu of the experiments. The paper's mean of past gradients,
           for tests that pass by noise, is left out
Cost       one product with J on the gradient's cases per step, besides the
           gradient variance: the second variance is ‖Var_i(g_i)‖₁ less
           Var_i(g_iᵀg_S)/‖g_S‖²
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, final

from hfbench.errors import ConfigError
from hfbench.parts import BatchPlan, Choice, Evidence, Linear, Log, Within, cases, part
from hfbench.schedulers import growth

from .growth import smallest_batch


@final
@part
class InnerProduct:
    """Batches that grow by noise along and across the gradient."""

    needs: ClassVar[tuple[str, ...]] = ("variance_l1", "variance_inner")
    start: Annotated[float, Log(0.01, 0.5), Within("(0, 1] or [2, inf)"), "first batch: a fraction, or cases"] = 0.05
    theta: Annotated[float, Linear(0.1, 1.5), Within("(0, 1000]"), "noise allowed along the gradient"] = 0.9
    nu: Annotated[float, Log(0.5, 10.0), Within("(0, 1000]"), "noise allowed across the gradient"] = 5.84
    max_growth: Annotated[float, Linear(1.5, 10.0), Within("(1, 1e9]"), "largest growth factor of one step"] = 4.0
    correction: Annotated[bool, "count a batch of all cases as free of noise: the factor (N - n)/(N - 1)"] = True
    curvature: Annotated[float, Linear(0.1, 1.0), Within("(0, 1]"), "curvature's fraction of the gradient's cases"] = (
        1.0
    )
    order: Annotated[str, Choice("random", "cyclic"), "a fresh permutation per step, or consecutive windows"] = "random"

    def begin(self, total: int) -> InnerProductSchedule:
        """Starts at `start`, but with at least two cases, since one case has no variance."""
        return InnerProductSchedule(self, total, max(2, cases(self.start, total, "start")))


@final
class InnerProductSchedule:
    """Schedule of one run: the batch size."""

    def __init__(self, rules: InnerProduct, total: int, batch: int) -> None:
        if total < 2:
            raise ConfigError(f"a growing batch needs at least two training cases, but there are {total}.")
        self.rules, self.total = rules, total
        self.batch, self.reason = batch, "start"

    @property
    def plan(self) -> BatchPlan:
        return growth.plan(self.batch, self.rules.curvature, self.rules.order, self.reason)

    def next(self, evidence: Evidence) -> BatchPlan:
        """Applies both tests to the step's evidence; the reason is "inner-product+orthogonality" if both fail."""
        wanted = self._tests(evidence)
        failed = [name for name, size in wanted.items() if size > self.batch]
        most = max(math.floor(self.rules.max_growth * self.batch), self.batch + 1)
        batch = min(max(wanted.values()), most, self.total)
        if batch > self.batch:
            self.batch, self.reason = batch, "+".join(failed)
        else:
            self.reason = "full" if self.batch == self.total else "keep"
        return self.plan

    def _tests(self, evidence: Evidence) -> dict[str, int]:
        """The smallest batch that would pass each test, or the present one if it passes."""
        if evidence.variance_l1 is None or evidence.variance_inner is None:
            raise ConfigError("the inner-product scheduler needs both variances of every step, but got none.")
        norm2 = evidence.gradient_norm * evidence.gradient_norm
        along = evidence.variance_inner
        across = max(evidence.variance_l1 - along / norm2, 0.0) if norm2 > 0 else evidence.variance_l1
        allowed_along, allowed_across = self.rules.theta**2 * norm2 * norm2, self.rules.nu**2 * norm2
        rest = (self.batch, self.total, self.rules.correction)
        return {
            "inner-product": smallest_batch(along, allowed_along, *rest),
            "orthogonality": smallest_batch(across, allowed_across, *rest),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"batch": self.batch, "reason": self.reason}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batch, self.reason = int(state["batch"]), str(state["reason"])
