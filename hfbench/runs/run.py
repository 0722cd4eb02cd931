"""One run, step by step: data, batch, step, schedule, evaluation, trace row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hfbench.config.measures import AT_TARGET, LIMITS, Measure, costs
from hfbench.config.run_spec import RunSpec
from hfbench.curvature.objective import objective
from hfbench.curvature.pass_units import units_of
from hfbench.errors import HfbenchError, NonFiniteError
from hfbench.messages import quoted
from hfbench.parts.hyperparameters import located
from hfbench.parts.protocols import (
    STEP_EVIDENCE,
    BatchPlan,
    Evidence,
    Horizon,
    Split,
    SupportsHorizon,
    SupportsPrepare,
    TaskData,
)
from hfbench.records import trace
from hfbench.runs import batches
from hfbench.runs.build import begin_schedule, build_model, build_optimizer, build_task, check_plan, stream
from hfbench.runs.evaluation import least_error, mean_error
from hfbench.runs.meters import Awaited, PeakMemory, Stopwatch, peak_memory
from hfbench.runs.random_streams import generator

LEAST_STEPS = 2  # of a run that is left after a limit: a pace needs two


class LiveRun:
    """A run between two outer iterations: model, optimiser, schedule, clock, ledger and the rows so far."""

    def __init__(self, spec: RunSpec, data: TaskData, recorded: Sequence[BatchPlan] | None = None) -> None:
        self.spec, self.data, self.total = spec, data, len(data.train)
        self.memory = PeakMemory()
        self.task = build_task(spec)
        self.schedule, self.needs = begin_schedule(spec, self.total, recorded)
        self.model = build_model(self.task, spec)
        self.optimizer = build_optimizer(self.model, self.task, spec)
        if isinstance(self.optimizer, SupportsHorizon):
            with located(f"methods.{spec.method.name}.optimizer"):
                draws = generator(spec.seed, stream(spec, "optimizer"))
                self.optimizer.expect(Horizon(spec.budget, self.total), draws)
        self.clock = Stopwatch()
        self.touched = torch.zeros(self.total, dtype=torch.bool, device="cpu")
        self.cases = {"cases_gradient": 0, "cases_curvature": 0}
        self.rows: list[trace.Row] = []
        self.resolutions: dict[str, float | None] = {}  # what one case with an error adds to the mean, by split
        self.outcome: str | None = None
        self.error: str | None = None

    def begin(self) -> None:
        """Records row 0, the initial errors. Raises NonFiniteError if they are not finite."""
        first = self._evaluate(0, None)
        if not math.isfinite(first["test_error"]):
            raise NonFiniteError(
                f"the model of task {quoted(self.spec.task)} must give finite outputs at its initial weights, but its "
                f"test error is {first['test_error']} for seed {self.spec.seed}. Check the model, its "
                "weights and the data."
            )
        for name in dict.fromkeys(("test", self.spec.target_on)):
            split: Split = getattr(self.data, name)
            self.resolutions[name] = least_error(self.model, self.task, split, self.spec.method.max_bytes)
        self._record({"iteration": 0, **first})

    def advance(self) -> None:
        """Makes one outer iteration and records its row."""
        iteration, plan = len(self.rows), self.schedule.plan
        try:
            with self.memory:
                step, batch = self._step(iteration, plan)
            with self.clock:
                validation = self._scheduler_validation()
                measured = {name: step.get(name) for name in STEP_EVIDENCE} | {"validation_objective": validation}
                self.schedule.next(Evidence(iteration, batch[0], step["gradient_norm"], **measured))
        except NonFiniteError as error:
            if iteration == 1:
                raise
            self.outcome, self.error = "diverged", str(error)
            return
        self._record(
            {
                "iteration": iteration,
                "batch_gradient": batch[0],
                "batch_curvature": batch[1],
                "batch_order": plan.order,
                "batch_reason": plan.reason,
                "train_objective_batch": step["objective_after"],
                "step_memory": self.memory.bytes,
                **{name: step.get(name) for name in trace.of_step()},
                **self._evaluate(iteration, validation),
            }
        )
        self._judge()

    def _step(self, iteration: int, plan: BatchPlan) -> tuple[dict[str, Any], tuple[int, int]]:
        check_plan(plan, self.total, self.spec)
        evidence = tuple(name for name in self.needs if name != "validation_objective")
        with self.clock:
            for_gradient, for_curvature = self.cases_of(iteration, plan)
            same = for_gradient is for_curvature
            batch = batches.take(self.data.train, for_gradient)
            curvature = None if same else batches.take_of(self.data.train, for_curvature, batch, for_gradient)
        if isinstance(self.optimizer, SupportsPrepare):
            with Stopwatch():  # it counts for nothing, but has to return
                self.optimizer.prepare(*batch, curvature, evidence)
        self.optimizer.ledger.units = units_of(self.model, batch[0])
        counted = self.optimizer.ledger.state_dict()
        with self.clock:
            step = self.optimizer.step(*batch, curvature, evidence)
        if less := [kind for kind, n in self.optimizer.ledger.since(counted).items() if not n >= 0]:
            raise HfbenchError(f"the work ledger must grow with every step, but has less {', '.join(less)} now.")
        self.touched[for_gradient] = True
        self.touched[for_curvature] = True
        sizes = len(for_gradient), len(for_curvature)
        self.cases["cases_gradient"] += sizes[0]
        self.cases["cases_curvature"] += sizes[1]
        return step.to_row(), sizes

    def cases_of(self, iteration: int, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """Training cases of a step's gradient and curvature; one tensor if they are the same."""
        name = batches.draw_name(plan, iteration, self.total)
        draws = generator(self.spec.seed, stream(self.spec, name))
        return batches.draw_cases(plan, iteration, self.total, draws)

    def _scheduler_validation(self) -> float | None:
        """The validation objective, if the schedule needs it; it is then part of the method, and is counted."""
        if "validation_objective" not in self.needs:
            return None
        self.optimizer.ledger.count("evaluation", len(self.data.validation))
        return self._objective(self.data.validation)

    def _objective(self, split: Split) -> float:
        mu_D, method = self.optimizer.mu_D, self.spec.method
        of = self.model, self.task.loss, split.inputs, split.targets, mu_D
        return objective(*of, method.chunk, max_bytes=method.max_bytes)

    def _evaluate(self, iteration: int, validation: float | None) -> dict[str, Any]:
        """Evaluates the run, if it is to be looked at now; neither clock nor ledger counts this."""
        if not self._is_looked_at(iteration):
            return {"validation_objective": validation}
        known = self._objective(self.data.validation) if validation is None else validation
        limit = self.spec.method.max_bytes
        with Awaited():
            return {
                "validation_objective": known,
                "validation_error": mean_error(self.model, self.task, self.data.validation, limit),
                "test_error": mean_error(self.model, self.task, self.data.test, limit),
            }

    def _is_looked_at(self, iteration: int) -> bool:
        """Whether the errors are evaluated after an iteration: after every n-th, and after the budget's last."""
        return iteration % self.spec.evaluate_every == 0 or self._is_spent({"iteration": iteration, **self._costs()})

    def _costs(self) -> dict[str, Any]:
        return {
            "seconds": self.clock.seconds,
            "work": self.optimizer.ledger.work / self.total,
            "products": None if self.spec.method.optimizer else self.optimizer.ledger.products,
            "distinct_cases": int(self.touched.sum()),
        }

    def _record(self, values: Mapping[str, Any]) -> None:
        self.rows.append(trace.row({**self._costs(), "peak_memory": peak_memory(), **self.cases, **values}))

    def _judge(self) -> None:
        last = self.rows[-1]
        if bad := _not_finite(last):
            self.outcome, self.error = "diverged", f"after iteration {last['iteration']}: {', '.join(bad)}."
        elif self._reached() is last and self.spec.stop_at_target:
            self.outcome = "reached"
        elif self._is_spent(last):
            self.outcome = "budget" if self._reached() is None else "reached"

    def _reached(self) -> trace.Row | None:
        """The first row after a step whose error is at the target, if the budget still covered it.

        A step that leaves the objective infinite has not reached the target, whatever the error.
        """
        looked_at = (row for row in self.rows[1:] if row[self.spec.target_column] is not None)
        met = (row for row in looked_at if row[self.spec.target_column] <= self.spec.target and not _not_finite(row))
        first = next(met, None)
        return first if first is not None and all(share <= 1 for share in self._spent(first).values()) else None

    def _spent(self, row: trace.Row) -> dict[str, float]:
        """The share of each limit used up."""
        return {name: (row[LIMITS[name]] or 0.0) / limit for name, limit in self.spec.budget.items()}

    def _is_spent(self, row: trace.Row) -> bool:
        return any(share >= 1 for share in self._spent(row).values())

    @property
    def was_cut_off(self) -> bool:
        """Whether the run ended at its budget, so that a larger one would have let it go on."""
        return self.outcome == "budget" or (self.outcome == "reached" and not self.spec.stop_at_target)

    def progress(self) -> dict[str, Any]:
        """The last row, the last error held against the target, and the share of the budget used."""
        last, spec = self.rows[-1], self.spec
        error = next(row[spec.target_column] for row in reversed(self.rows) if row[spec.target_column] is not None)
        spent = max(self._spent(last).values(), default=0.0)
        held = {"target": spec.target, "target_on": spec.target_on, "error": error}
        return {**last, "name": spec.name, **held, "spent": spent}

    def result(self) -> dict[str, Any]:
        """Costs and final errors of the run; costs to the target are None if it was not reached."""
        last, reached = self.rows[-1], self._reached()
        diverged = self.outcome == "diverged"
        return {
            "outcome": self.outcome,
            "error": self.error,
            **{cost.spent: self._spent_of(cost, last) for cost in costs().values()},
            "iterations": last["iteration"],
            **{name: None if reached is None else self._spent_of(cost, reached) for name, cost in costs().items()},
            "final_test_error": last["test_error"],
            **{f"{name}_resolution": value for name, value in self.resolutions.items()},
            "final_validation_error": last["validation_error"],
            "final_objective": None if diverged else self._objective(self.data.train),
            "peak_memory": last["peak_memory"],
            **self._at_target(reached),
        }

    def _at_target(self, reached: trace.Row | None) -> dict[str, float | None]:
        """The test error where the validation error reached the target: of cases that did not decide where that is."""
        if self.spec.target_on == "test":
            return {}
        return {AT_TARGET: None if reached is None else reached["test_error"]}

    def _spent_of(self, cost: Measure, row: trace.Row) -> float | None:
        spent: float | None = row[cost.column]
        return spent / self.total if cost.per_case and spent is not None else spent

    def state_dict(self) -> dict[str, Any]:
        """All of the run's state as tensors and plain data."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ledger": self.optimizer.ledger.state_dict(),
            "schedule": self.schedule.state_dict(),
            "seconds": self.clock.seconds,
            "touched": self.touched,
            "cases": self.cases,
            "rows": self.rows,
            "resolutions": self.resolutions,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts the run where the state was taken, and ends it if that is where its own budget or target ends it."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.optimizer.ledger.load_state_dict(state["ledger"])
        self.schedule.load_state_dict(state["schedule"])
        self.clock.seconds = state["seconds"]
        self.touched, self.cases, self.rows = state["touched"], state["cases"], state["rows"]
        self.resolutions = state["resolutions"]
        self._forget_last_look()
        self._judge()

    def _forget_last_look(self) -> None:
        """Leaves the errors out of a last row at which only the smaller budget of a shorter run ended it."""
        last = self.rows[-1]
        if not self._is_looked_at(last["iteration"]):
            kept = "validation_objective" in self.needs
            unseen = ("test_error", "validation_error", *(() if kept else ("validation_objective",)))
            self.rows[-1] = last | dict.fromkeys(unseen)


def _not_finite(row: trace.Row) -> list[str]:
    """Messages about a row's entries that are not finite; the batch's objective may be None.

    An error can be finite even if outputs are not: sigmoid(inf) is 1.
    """
    watched = ("train_objective_batch", "validation_objective", "validation_error", "test_error")
    return [f"{name} is {row[name]}" for name in watched if not math.isfinite(row[name] or 0.0)]
