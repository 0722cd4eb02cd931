"""Schedulers with one mistake each that a person could make, and the check of the contract that must tell.

`caught_by` names the check, `says` what its message must speak of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan, Evidence


class Growing:
    """Grows by a fifth every third step, right in all that a subclass does not replace."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.batch, self.steps, self.reason = max(1, total // 50), 0, "start"

    @property
    def plan(self) -> BatchPlan:
        return BatchPlan(self.batch, max(1, self.batch // 2), "random", self.reason)

    def next(self, evidence: Evidence) -> BatchPlan:
        self.steps += 1
        grows = self.steps % 3 == 0
        self.batch = min(self.grown(evidence), self.total) if grows else self.batch
        self.reason = "third step" if grows else "keep"
        return self.plan

    def grown(self, evidence: Evidence) -> int:
        return math.ceil(1.2 * self.batch)

    def state_dict(self) -> dict[str, Any]:
        return {"batch": self.batch, "steps": self.steps, "reason": self.reason}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batch, self.steps, self.reason = state["batch"], state["steps"], state["reason"]


class HonestSteps:
    """A step-wise scheduler, right in all that a subclass does not replace."""

    needs: tuple[str, ...] = ()
    schedule: type[Growing] = Growing

    def begin(self, total: int) -> Growing:
        return self.schedule(total)


class HonestConstant:
    """One plan for ever, which only large training sets allow."""

    needs = ()

    def begin(self, total: int) -> HonestConstant:
        if total < 500:
            raise ConfigError(f"gradient: needs 500 cases, but there are {total}.")
        return self

    plan = BatchPlan(500, 100, "cyclic", "fixed")

    def next(self, evidence: Evidence) -> BatchPlan:
        return self.plan

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


# ---------------------------------------------------------------- what it begins


class BeginsNothing(HonestSteps):
    """Keeps its schedule to itself."""

    caught_by, says = "test_begins_a_schedule", "but None"

    def begin(self, total: int) -> Growing:
        self.schedule(total)


class PlanIsAMethod(HonestSteps):
    """Leaves out @property."""

    caught_by, says = "test_begins_a_schedule", "plan is a method plan"

    class schedule(Growing):
        def plan(self) -> BatchPlan:
            return super().plan


class NextGivesTheSize(HonestSteps):
    """Plans a number of cases alone."""

    caught_by, says = "test_begins_a_schedule", "but 1 (int)"

    class schedule(Growing):
        def next(self, evidence: Evidence) -> BatchPlan:
            return super().next(evidence).gradient


class OneNeed(HonestSteps):
    """Names its one need without a comma, which is a word and no tuple."""

    caught_by, says = "test_begins_a_schedule", "'variance_l1' (str)"
    needs = "variance_l1"


# ---------------------------------------------------------------- what it reads


class SaysNoNeeds(HonestSteps):
    """Does not say what it needs."""

    caught_by, says = "test_says_what_it_needs", "`needs: ClassVar"
    needs = None


class MisspellsANeed(HonestSteps):
    """Names evidence that there is none of."""

    caught_by, says = "test_says_what_it_needs", "variance_l2"
    needs = ("variance_l2",)


class ReadsUndeclared(HonestSteps):
    """Reads the variance without saying so, and meets None."""

    caught_by, says = "test_says_what_it_needs", "NoneType"

    class schedule(Growing):
        def grown(self, evidence: Evidence) -> int:
            return self.batch + (evidence.variance_l1 > 1)


class GuessesUndeclared(HonestSteps):
    """Takes the variance for zero where it is not there, so that its test never fires."""

    caught_by, says = "test_says_what_it_needs", "other plans where the rest is there too"

    class schedule(Growing):
        def grown(self, evidence: Evidence) -> int:
            return self.batch + ((evidence.variance_l1 or 0.0) > 1)


# ---------------------------------------------------------------- the plans


class Shrinks(HonestSteps):
    """Follows the noise, up and down."""

    caught_by, says = "test_never_shrinks", "a batch of at least"
    needs = ("variance_l1",)

    class schedule(Growing):
        def grown(self, evidence: Evidence) -> int:
            return max(1, round(self.total * min(evidence.variance_l1 / 10, 1.0)))


class Exceeds(HonestSteps):
    """Grows beyond the cases there are."""

    caught_by, says = "test_keeps_to_the_cases_there_are", "gradient 3,"

    class schedule(Growing):
        @property
        def plan(self) -> BatchPlan:
            return BatchPlan(self.batch + 2, 1, "random", self.reason)


class MoreCurvatureThanGradient(HonestSteps):
    """A number of curvature cases that does not follow the gradient's."""

    caught_by, says = "test_keeps_to_the_cases_there_are", "curvature 100,"

    class schedule(Growing):
        @property
        def plan(self) -> BatchPlan:
            return BatchPlan(self.batch, 100, "random", self.reason)


class Fractions(HonestSteps):
    """Forgets to round."""

    caught_by, says = "test_keeps_to_the_cases_there_are", "whole numbers"

    class schedule(Growing):
        def grown(self, evidence: Evidence) -> int:
            return 1.2 * self.batch


class MisspellsTheOrder(HonestSteps):
    """An order that there is none of."""

    caught_by, says = "test_keeps_to_the_cases_there_are", "order 'shuffled'"

    class schedule(Growing):
        @property
        def plan(self) -> BatchPlan:
            return BatchPlan(self.batch, 1, "shuffled", self.reason)


class GivesNoReason(HonestSteps):
    """Leaves the reason empty where nothing changes."""

    caught_by, says = "test_gives_reasons", "a reason for every batch"

    class schedule(Growing):
        @property
        def plan(self) -> BatchPlan:
            return BatchPlan(self.batch, 1, "random", "" if self.reason == "keep" else self.reason)


class PlanLagsBehind(HonestSteps):
    """`next` returns the plan to come and keeps the one before."""

    caught_by, says = "test_plan_is_what_next_gave", "`plan` to be what `next` returned"

    class schedule(Growing):
        def next(self, evidence: Evidence) -> BatchPlan:
            before, reason = self.batch, self.reason
            given = super().next(evidence)
            if self.batch > before:
                self.batch, self.reason = before, reason
            return given


class CountsReadings(HonestSteps):
    """Grows whenever its plan is looked at."""

    caught_by, says = "test_plan_is_what_next_gave", "however often it is read"

    class schedule(Growing):
        @property
        def plan(self) -> BatchPlan:
            self.batch = min(self.batch + 1, self.total)
            return super().plan


# ---------------------------------------------------------------- one run and another


class SharesState(HonestSteps):
    """Keeps what it saw in a list of the class, where all runs find it."""

    caught_by, says = "test_is_replayable", "the same plans from the same evidence"

    class schedule(Growing):
        seen: list[float] = []

        def grown(self, evidence: Evidence) -> int:
            self.seen.append(evidence.gradient_norm)
            return self.batch + len(self.seen)


class Random(HonestSteps):
    """Grows by chance."""

    caught_by, says = "test_is_replayable", "the same plans from the same evidence"

    class schedule(Growing):
        def grown(self, evidence: Evidence) -> int:
            return self.batch + int(torch.randint(0, 3, ()))


class StateIsNoJson(HonestSteps):
    """Keeps a tensor in its state."""

    caught_by, says = "test_state_goes_through_json", "plain data that JSON keeps"

    class schedule(Growing):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "batch": torch.tensor(self.batch)}


class ForgetsTheSteps(HonestSteps):
    """Saves the batch and not where it is among its three steps."""

    caught_by, says = "test_state_goes_through_json", "the state lacks something"

    class schedule(Growing):
        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.batch, self.reason = state["batch"], state["reason"]


class ForgetsTheReason(HonestSteps):
    """Goes on with the right batch for no reason."""

    caught_by, says = "test_state_goes_through_json", "after loading the state"

    class schedule(Growing):
        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.batch, self.steps = state["batch"], state["steps"]


class ForgetsTheWindow(HonestSteps):
    """Saves everything but the objectives that the next ones are compared with."""

    caught_by, says = "test_state_goes_through_json", "the state lacks something"
    needs = ("validation_objective",)

    class schedule(Growing):
        def __init__(self, total: int) -> None:
            super().__init__(total)
            self.best, self.waited = math.inf, 0

        def grown(self, evidence: Evidence) -> int:
            improved = evidence.validation_objective < self.best
            self.best = min(self.best, evidence.validation_objective)
            self.waited = 0 if improved else self.waited + 1
            return math.ceil(1.5 * self.batch) if self.waited >= 2 else self.batch


class GivesOutItsOwnState(HonestSteps):
    """Keeps a dictionary, and gives that out."""

    caught_by, says = "test_leaves_a_saved_state_alone", "as it was given out"

    class schedule(Growing):
        def __init__(self, total: int) -> None:
            super().__init__(total)
            self.own: dict[str, Any] = {}

        def next(self, evidence: Evidence) -> BatchPlan:
            plan = super().next(evidence)
            self.own.update(super().state_dict())
            return plan

        def state_dict(self) -> dict[str, Any]:
            self.own.update(super().state_dict())
            return self.own


class TakesOverWhatItLoads(HonestSteps):
    """Goes on in the list that it was handed."""

    caught_by, says = "test_leaves_a_saved_state_alone", "as it was loaded"

    class schedule(Growing):
        def __init__(self, total: int) -> None:
            super().__init__(total)
            self.sizes: list[int] = []

        def next(self, evidence: Evidence) -> BatchPlan:
            self.sizes.append(self.batch)
            return super().next(evidence)

        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "sizes": list(self.sizes)}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            super().load_state_dict(state)
            self.sizes = state["sizes"]


class DrawsForNothing(HonestSteps):
    """Draws a number that it does not use."""

    caught_by, says = "test_draws_no_random_numbers", "torch's global generator"

    class schedule(Growing):
        def grown(self, evidence: Evidence) -> int:
            torch.rand(())
            return super().grown(evidence)


class FailsAtOneCase(HonestSteps):
    """Divides by N - 1."""

    caught_by, says = "test_refuses_what_cannot_be", "ZeroDivisionError"

    class schedule(Growing):
        def __init__(self, total: int) -> None:
            super().__init__(total)
            self.correction = total / (total - 1)


class TwoOfOne(HonestSteps):
    """Begins with two cases, of which there is one."""

    caught_by, says = "test_refuses_what_cannot_be", "a batch of the one case there is"

    class schedule(Growing):
        def __init__(self, total: int) -> None:
            super().__init__(total)
            self.batch = max(2, self.batch)
