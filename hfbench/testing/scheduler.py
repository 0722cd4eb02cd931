"""Contract of batch schedulers: never shrinks, capped, plain state, reasons given, replayable."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import torch

from hfbench.errors import ConfigError
from hfbench.messages import quoted
from hfbench.parts.protocols import BatchPlan, Evidence, Schedule, Scheduler
from hfbench.runs.batches import ORDERS
from hfbench.testing.contract import Contract, global_random_state_kept, not_applicable, require, seeded_generator
from hfbench.testing.kinds import METHOD, NAMES, PLAN, require_fields, require_kind

TOTALS = (2, 10, 1000, 6500)
STEPS = 40
HALF = STEPS // 2
ALL = range(1, STEPS + 1)
SCHEDULE = {"plan": PLAN, **dict.fromkeys(("next", "state_dict", "load_state_dict"), METHOD)}
ENTRIES = tuple(field.name for field in dataclasses.fields(Evidence) if field.default is None)


class SchedulerContract(Contract):
    """Contract of a batch scheduler (hfbench/parts/protocols.py, `Scheduler` and `Schedule`)."""

    def scheduler(self) -> Scheduler:
        scheduler: Scheduler = self.built()
        return scheduler

    def test_begins_a_schedule(self) -> None:
        """`begin` and `next` return values of the right type."""
        for total in self._totals():
            self._plans(self._begun(total), kind=0)

    def test_says_what_it_needs(self) -> None:
        needs = self._needs()
        require(
            set(needs) <= set(ENTRIES),
            f"`needs: ClassVar[tuple[str, ...]]`, among {', '.join(ENTRIES)}",
            repr(needs),
            "only what is declared is computed and handed over",
        )
        for total, kind in self._settings():
            alone, again, with_all = (self._tried(total, kind, entries) for entries in (needs, needs, ENTRIES))
            require(
                alone == with_all or alone != again,  # of which test_is_replayable speaks
                f"plans from {_told(needs)} alone; what is not in `needs` is None",
                f"{alone}" if isinstance(alone, str) else "other plans where the rest is there too",
                "evidence costs work: only what is declared is computed",
            )

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
                    _whole(plan) and 1 <= plan.curvature <= plan.gradient <= total and plan.order in ORDERS,
                    f"1 <= curvature <= gradient <= {total}, whole numbers, and an order among {', '.join(ORDERS)}",
                    f"gradient {plan.gradient}, curvature {plan.curvature}, order {quoted(plan.order)}",
                    "a run ends with an error at a batch that cannot be drawn",
                )

    def test_gives_reasons(self) -> None:
        for total, plans in self._histories():
            for index, plan in enumerate(plans):
                require(
                    isinstance(plan.reason, str) and bool(plan.reason.strip()),
                    f"a reason for every batch (step {index} of {total} cases)",
                    repr(plan.reason),
                    "the trace says why a batch grew; without it nobody can tell which test fired",
                )

    def test_plan_is_what_next_gave(self) -> None:
        for total, kind in self._settings():
            schedule = self._begun(total)
            for evidence in self._evidence(schedule, kind):
                given = schedule.next(evidence)
                require(
                    given == schedule.plan == schedule.plan,
                    f"`plan` to be what `next` returned, however often it is read: {given}",
                    f"{schedule.plan}",
                    "the plan is read again when a run is resumed",
                )

    def test_is_replayable(self) -> None:
        """The same evidence gives the same plans, and two schedules share nothing."""
        for total, kind in self._settings():
            one, other = self._begun(total), self._begun(total)
            first, again = (self._plans(schedule, kind) for schedule in (one, other))
            require(
                first == again,
                "the same plans from the same evidence",
                f"others from step {_first_difference(first, again)} on",
                "a process has several runs of one scheduler, and runs are repeated",
            )

    def test_state_goes_through_json(self) -> None:
        for total, kind in self._settings():
            for done in (HALF // 2, HALF):
                self._resumed(total, kind, done)

    def _resumed(self, total: int, kind: int, done: int) -> None:
        schedule = self._begun(total)
        self._plans(schedule, kind, range(1, done + 1))
        try:
            state = json.loads(json.dumps(schedule.state_dict()))
        except (TypeError, ValueError) as error:
            require(False, "`state_dict` of plain data that JSON keeps", str(error), "checkpoints hold no objects")
        other = self._begun(total)
        other.load_state_dict(state)
        require(
            other.plan == schedule.plan,
            f"the plan {schedule.plan} after loading the state of step {done}",
            f"{other.plan}",
            "a resumed run must go on with the batch it was at",
        )
        rest, again = (self._plans(each, kind, range(done + 1, STEPS + 1)) for each in (schedule, other))
        require(
            rest == again,
            f"the same plans after saving and loading at step {done} as without",
            f"others from step {done + 1 + _first_difference(rest, again)} on: the state lacks something it remembers",
            "interrupted and resumed must equal uninterrupted",
        )

    def test_leaves_a_saved_state_alone(self) -> None:
        """A state as given out, and as loaded, stays what it was, whatever steps follow."""
        for total, kind in self._settings():
            schedule, other = self._begun(total), self._begun(total)
            self._plans(schedule, kind, range(1, HALF + 1))
            given = schedule.state_dict()
            loaded = copy.deepcopy(given)
            before = copy.deepcopy(given)
            other.load_state_dict(loaded)
            for going in (schedule, other):
                self._plans(going, kind, range(HALF + 1, STEPS + 1))
            changed = [what for what, state in (("given out", given), ("loaded", loaded)) if state != before]
            require(
                not changed,
                f"a state as it was {' and as it was '.join(changed) or 'given out'}, whatever steps follow",
                "one that changed in place",
                "a checkpoint may be written later than its state was asked for",
            )

    def test_draws_no_random_numbers(self) -> None:
        with global_random_state_kept("a run that is resumed must go on as it would have", "no random numbers"):
            for total, kind in self._settings():
                self._plans(self._begun(total), kind)

    def test_refuses_what_cannot_be(self) -> None:
        """A single case gives a plan of one case or a ConfigError."""
        try:
            plan = self._begun(1).plan
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
        schedule = self.scheduler().begin(total)
        why = "a run asks for a plan before every step, and keeps the state of its schedule"
        require_fields("what `begin` returns", schedule, SCHEDULE, why)
        return schedule

    def _needs(self) -> tuple[str, ...]:
        needs: Any = getattr(self.scheduler(), "needs", None)
        why = "only what is declared is computed and handed over"
        require_kind("`needs: ClassVar[tuple[str, ...]]`", needs, NAMES, why)
        return tuple(needs)

    def _totals(self) -> list[int]:
        """The sizes of training sets that the settings allow; settings may require more cases."""
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

    def _settings(self) -> Iterator[tuple[int, int]]:
        """Sizes of training sets, and kinds of evidence."""
        return product(self._totals(), range(len(KINDS)))

    def _histories(self) -> Iterator[tuple[int, list[BatchPlan]]]:
        """The plans during training of every kind."""
        for total, kind in self._settings():
            schedule = self._begun(total)
            yield total, [schedule.plan, *self._plans(schedule, kind)]

    def _evidence(
        self, schedule: Schedule, kind: int, steps: Iterable[int] = ALL, entries: Sequence[str] | None = None
    ) -> Iterator[Evidence]:
        """Evidence of one kind of training, with the declared or the given entries only."""
        for k in steps:
            norm, values = KINDS[kind](k, float(torch.rand((), generator=seeded_generator(k))))
            names = self._needs() if entries is None else entries
            yield Evidence(k, schedule.plan.gradient, norm, **{name: values[name] for name in names if name in values})

    def _plans(
        self, schedule: Schedule, kind: int, steps: Iterable[int] = ALL, entries: Sequence[str] | None = None
    ) -> list[BatchPlan]:
        plans = []
        for evidence in self._evidence(schedule, kind, steps, entries):
            plans.append(schedule.next(evidence))
            require_kind("what `next` returns", plans[-1], PLAN, "the next step's cases are drawn by it")
        return plans

    def _tried(self, total: int, kind: int, entries: Sequence[str]) -> list[BatchPlan] | str:
        """The plans from this evidence, or the exception that was raised."""
        try:
            return self._plans(self._begun(total), kind, entries=entries)
        except Exception as error:
            return f"{type(error).__name__}: {error}"


# ---------------------------------------------------------------- training as a scheduler sees it

Values = tuple[float, dict[str, float]]  # gradient norm, and entries of Evidence


def _values(norm: float, variance: float, validation: float, along: float) -> Values:
    return norm, {"variance_l1": variance, "variance_inner": along, "validation_objective": validation}


def _falling(k: int, noise: float) -> Values:
    norm = 0.9**k
    return _values(norm, 0.01 * norm**2, 0.95**k, 0.01 * norm**4)


def _noisy(k: int, noise: float) -> Values:
    norm = 0.5 + noise
    return _values(norm, 10 * noise, 1.0 + 0.1 * noise, 10 * noise * norm**2)


def _noisier(k: int, noise: float) -> Values:
    """Slowly growing noise, so that a batch grows all the time without soon being full."""
    return _values(1.0, 0.5 * k + noise, 0.99**k, 0.5 * k + noise)


def _stalling(k: int, noise: float) -> Values:
    return _values(0.1, 0.05, 1.0, 0.0005)


def _degenerate(k: int, noise: float) -> Values:
    """A vanishing gradient."""
    return _values(0.0 if k % 2 else 1e-30, 1e30, 1e300, 1e30)


def _diverging(k: int, noise: float) -> Values:
    """Evidence of a diverging run, whose last step is passed on too."""
    return _values(10.0**k, math.inf, math.nan if k % 2 else math.inf, math.inf)


KINDS: tuple[Callable[[int, float], Values], ...] = (_falling, _noisy, _noisier, _stalling, _degenerate, _diverging)


def _whole(plan: BatchPlan) -> bool:
    return all(isinstance(size, int) and not isinstance(size, bool) for size in (plan.gradient, plan.curvature))


def _told(needs: Sequence[str]) -> str:
    return ", ".join(needs) or "no evidence"


def _first_difference(a: Sequence[BatchPlan], b: Sequence[BatchPlan]) -> int:
    """The index of the first plan that differs; their number if none does."""
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
