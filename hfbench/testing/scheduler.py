"""The contract of batch schedulers: never shrinks, capped, plain state, reasons given, replayable."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence

import torch

from hfbench.batches import ORDERS
from hfbench.errors import ConfigError
from hfbench.protocols import BatchPlan, Evidence, Schedule, Scheduler
from hfbench.testing.contract import Contract, generator, not_applicable, require

TOTALS = (2, 10, 1000, 6500)
STEPS = 40
HALF = STEPS // 2
ENTRIES = tuple(field.name for field in dataclasses.fields(Evidence) if field.default is None)


class SchedulerContract(Contract):
    """What a batch scheduler must hold to (hfbench/protocols.py, `Scheduler` and `Schedule`)."""

    def scheduler(self) -> Scheduler:
        scheduler: Scheduler = self.built()
        return scheduler

    def test_says_what_it_needs(self) -> None:
        needs = getattr(self.scheduler(), "needs", None)
        require(
            isinstance(needs, tuple) and set(needs) <= set(ENTRIES),
            f"`needs: ClassVar[tuple[str, ...]]`, among {', '.join(ENTRIES)}",
            repr(needs),
            "evidence costs work: only what is declared is computed",
        )
        for _, plans in self._histories():  # evidence holds nothing else
            require(len(plans) == STEPS + 1, "a plan from the declared evidence alone", "none", "the rest is None")

    def test_never_shrinks(self) -> None:
        for total, plans in self._histories():
            for before, after in zip(plans, plans[1:], strict=False):
                require(
                    after.gradient >= before.gradient,
                    f"a batch of at least {before.gradient} of {total} cases after one of {before.gradient}",
                    f"{after.gradient}",
                    "hfbench compares growing batches; noise that comes back undoes what was gained",
                )

    def test_keeps_to_the_cases_there_are(self) -> None:
        for total, plans in self._histories():
            for plan in plans:
                require(
                    1 <= plan.curvature <= plan.gradient <= total and plan.order in ORDERS,
                    f"1 <= curvature <= gradient <= {total} cases, in an order among {', '.join(ORDERS)}",
                    f"gradient {plan.gradient}, curvature {plan.curvature}, order {plan.order!r}",
                    "a run ends with an error at a batch that cannot be drawn",
                )

    def test_gives_reasons(self) -> None:
        for total, plans in self._histories():
            for place, plan in enumerate(plans):
                require(
                    isinstance(plan.reason, str) and bool(plan.reason.strip()),
                    f"a reason for every batch (step {place} of {total} cases)",
                    repr(plan.reason),
                    "the trace says why a batch grew; without it nobody can tell which test fired",
                )

    def test_plan_is_what_next_gave(self) -> None:
        for total in self._totals():
            schedule = self._begun(total)
            for evidence in self._evidence(schedule, 0):
                given = schedule.next(evidence)
                require(
                    given == schedule.plan == schedule.plan,
                    f"`plan` to be what `next` returned, however often it is read: {given}",
                    f"{schedule.plan}",
                    "the plan is read again when a run is resumed",
                )

    def test_is_replayable(self) -> None:
        """The same evidence gives the same plans, and two schedules share nothing."""
        for total in self._totals():
            one, other = self._begun(total), self._begun(total)
            first = self._plans(one, self._evidence(one, 1))
            again = self._plans(other, self._evidence(other, 1))
            require(
                first == again,
                "the same plans from the same evidence",
                f"others from step {_first_difference(first, again)} on",
                "runs of one scheduler are beside one another in one process, and are repeated",
            )

    def test_state_goes_through_json(self) -> None:
        for total in self._totals():
            schedule = self._begun(total)
            before = self._plans(schedule, self._evidence(schedule, 1, range(1, HALF)))
            try:
                state = json.loads(json.dumps(schedule.state_dict()))
            except TypeError as error:
                require(False, "`state_dict` of plain data that JSON keeps", str(error), "checkpoints hold no objects")
            other = self._begun(total)
            other.load_state_dict(state)
            require(
                other.plan == before[-1],
                f"the plan {before[-1]} after loading the state",
                f"{other.plan}",
                "a resumed run must go on with the batch it was at",
            )
            later = range(HALF, STEPS + 1)
            rest, again = (self._plans(one, self._evidence(one, 1, later)) for one in (schedule, other))
            require(
                rest == again,
                "the same plans after saving and loading as without",
                f"others from step {HALF + _first_difference(rest, again)} on",
                "interrupted and resumed must equal uninterrupted",
            )

    def test_refuses_what_cannot_be(self) -> None:
        """One case alone is either a plan of one case or a clear refusal."""
        try:
            plan = self.scheduler().begin(1).plan
        except ConfigError:
            return
        require(
            plan.gradient == plan.curvature == 1,
            "a batch of the one case there is, or a ConfigError",
            f"{plan}",
            "small data sets must not end in a traceback",
        )

    # ------------------------------------------------------------ helpers

    def _begun(self, total: int) -> Schedule:
        return self.scheduler().begin(total)

    def _totals(self) -> list[int]:
        """The sizes of training sets that the settings allow; they may ask for more cases than there are."""
        allowed = []
        for total in TOTALS:
            try:
                self._begun(total)
            except ConfigError:
                continue
            allowed.append(total)
        if not allowed:
            not_applicable(f"its settings allow no training set of {', '.join(map(str, TOTALS))} cases")
        return allowed

    def _histories(self) -> Iterator[tuple[int, list[BatchPlan]]]:
        """Plans met with evidence that is calm, noisy, and beyond all bounds."""
        for total in self._totals():
            for kind in range(4):
                schedule = self._begun(total)
                yield total, [schedule.plan, *self._plans(schedule, self._evidence(schedule, kind))]

    def _evidence(
        self, schedule: Schedule, kind: int, steps: Iterable[int] = range(1, STEPS + 1)
    ) -> Iterator[Evidence]:
        """Evidence of falling (0), noisy (1), stalling (2) and degenerate (3) training: what is needed alone."""
        for k in steps:
            noise = float(torch.rand((), generator=generator(1000 * kind + k)))
            norm = (0.9**k, 0.5 + noise, 0.1, 0.0 if k % 2 else 1e-30)[kind]
            values = {
                "variance_l1": (0.01 * norm**2, 10 * noise, 5.0 * norm**2, 1e30)[kind],
                "variance_inner": (0.01 * norm**4, 10 * noise * norm**2, 5.0 * norm**4, 1e30)[kind],
                "validation_objective": (0.95**k, 1.0 + 0.1 * noise, 1.0, 1e300)[kind],
            }
            needed = {name: values.get(name, noise) for name in self.scheduler().needs if name in ENTRIES}
            yield Evidence(k, schedule.plan.gradient, norm, **needed)

    def _plans(self, schedule: Schedule, evidence: Iterable[Evidence]) -> list[BatchPlan]:
        return [schedule.next(one) for one in evidence]


def _first_difference(a: Sequence[BatchPlan], b: Sequence[BatchPlan]) -> int:
    """The place of the first plan that differs; their number if none does."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
