"""One run, step by step: its split, weights, draws and clock, and what ends it at once."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
from support.tiny_study import MISBEHAVING, Explodes, attempt, specs, tiny, trace_of
from torch.nn.functional import binary_cross_entropy_with_logits

from hfbench import HessianFree, registry
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.parts.hyperparameters import part
from hfbench.parts.protocols import BatchPlan
from hfbench.runs import batches
from hfbench.runs.build import load_data
from hfbench.runs.random_streams import generator
from hfbench.runs.run import LiveRun
from hfbench.schedulers.fixed import FixedSchedule


@part
class Picky:
    """Refuses to begin, or plans too much."""

    needs: ClassVar[tuple[str, ...]] = ()
    plans: int = 0

    def begin(self, total: int) -> FixedSchedule:
        if self.plans == 0:
            raise ConfigError("Sundays: closed.")
        return FixedSchedule(BatchPlan(self.plans, self.plans, "cyclic", "fixed"))


def test_methods_of_one_seed_share_split_weights_and_draws(tmp_path: Path) -> None:
    by_name = specs(tiny(tmp_path))
    hf, shf, other = (
        LiveRun(spec, load_data(spec)) for spec in (by_name["hf", 0], by_name["shf", 0], by_name["hf", 1])
    )
    for live in (hf, shf, other):
        live.begin()
    assert torch.equal(hf.data.validation.inputs, shf.data.validation.inputs)
    assert not torch.equal(hf.data.validation.inputs, other.data.validation.inputs)
    assert hf.rows[0]["test_error"] == shf.rows[0]["test_error"] != other.rows[0]["test_error"]

    plan = shf.schedule.plan
    draws = [batches.draw_cases(plan, 1, 200, generator(live.spec.seed, "batches/1"))[0] for live in (hf, shf, other)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_schedulers_validation_is_work_of_the_method(tmp_path: Path) -> None:
    by_name = specs(tiny(tmp_path))
    counted = {}
    for name in ("hf", "shf"):
        live = LiveRun(by_name[name, 0], load_data(by_name[name, 0]))
        live.begin()
        before = live.optimizer.ledger.evaluation
        live._scheduler_validation()
        counted[name] = live.optimizer.ledger.evaluation - before
    assert counted == {"hf": 0, "shf": 50}


def test_distinct_cases_are_those_of_gradient_or_curvature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn batches have the curvature's cases among the gradient's; what a run counts does not rest on it."""
    spec = specs(tiny(tmp_path))["hf", 0]
    live = LiveRun(spec, load_data(spec))
    live.begin()
    drawn = {1: (torch.arange(10), torch.arange(5, 20)), 2: (torch.arange(8), torch.arange(18, 21))}
    monkeypatch.setattr(LiveRun, "cases_of", lambda self, iteration, plan: drawn[iteration])
    live.advance()
    live.advance()
    assert [row["distinct_cases"] for row in live.rows] == [0, 20, 21]
    assert [(row["cases_gradient"], row["cases_curvature"]) for row in live.rows] == [(0, 0), (10, 15), (18, 18)]


def test_the_objectives_of_a_run_have_the_decay(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "tasks.tiny-curves.decay=0.3", "study.precision=float64"))["hf", 0]
    live = LiveRun(spec, load_data(spec))
    live.begin()
    live.advance()
    penalty = 0.15 * sum(float(p.detach().square().sum()) for p in live.model.parameters() if p.dim() > 1)
    for split, found in (
        (live.data.validation, live.rows[1]["validation_objective"]),
        (live.data.train, live.result()["final_objective"]),
    ):
        loss = binary_cross_entropy_with_logits(live.model(split.inputs).detach(), split.targets, reduction="sum")
        assert found == pytest.approx(float(loss) / len(split) + penalty, rel=1e-10)
    assert penalty > 0.1


@pytest.mark.parametrize("target_on", ["validation", "test"])
def test_an_error_equal_to_the_target_has_met_it(tmp_path: Path, target_on: str) -> None:
    spec = specs(tiny(tmp_path, "study.stop_at_target=false"))["hf", 0]
    live = LiveRun(spec, load_data(spec))
    live.begin()
    for _ in range(3):
        live.advance()
    errors = [row[f"{target_on}_error"] for row in live.rows]
    live.spec = replace(spec, target=min(errors[1:3]), target_on=target_on)
    assert live.result()["work_to_target"] == live.rows[errors.index(min(errors[1:3]))]["work"]


def test_a_target_on_validation_cases_is_met_without_a_look_at_the_test_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation error falls below the target at the third row, the test error at the second or at none."""
    spec = specs(tiny(tmp_path, "study.targets.tiny-curves=10.0"))["hf", 0]
    assert spec.target_on == "validation"
    data = load_data(spec)
    for tested in ([90.0, 9.0, 8.5, 7.0], [90.0, 80.0, 70.0, 60.0]):
        errors = {"validation": iter([90.0, 11.0, 10.0, 9.0]), "test": iter(tested)}

        def made_up(model: Any, task: Any, split: Any, limit: Any, errors: Any = errors) -> float:
            return float(next(errors["validation" if split is data.validation else "test"]))

        monkeypatch.setattr("hfbench.runs.run.mean_error", made_up)
        live = LiveRun(spec, data)
        live.begin()
        while live.outcome is None:
            live.advance()
        result = live.result()
        assert (live.outcome, result["iterations"]) == ("reached", 2)
        assert result["test_error_at_target"] == tested[2]


def test_a_result_has_a_test_error_at_the_target_only_where_validation_decides(tmp_path: Path) -> None:
    on_validation = specs(tiny(tmp_path, "study.stop_at_target=false", "study.targets.tiny-curves=0.001"))["hf", 0]
    assert attempt(on_validation, tmp_path)["test_error_at_target"] is None
    on_test = replace(on_validation, target_on="test")
    assert set(attempt(on_validation, tmp_path)) - set(attempt(on_test, tmp_path)) == {
        "test_error_at_target", "validation_resolution",
    }  # fmt: skip


def test_validation_cases_are_no_others_cases_and_the_same_for_all_methods(tmp_path: Path) -> None:
    """Pictures of random strokes are all different, so that equal ones are the same case."""
    by_name = specs(tiny(tmp_path))
    of_hf, of_shf, other = (load_data(by_name[name]) for name in (("hf", 0), ("shf", 0), ("hf", 1)))
    cases = {
        name: {row.numpy().tobytes() for row in getattr(of_hf, name).inputs} for name in ("train", "validation", "test")
    }
    assert {name: len(rows) for name, rows in cases.items()} == {"train": 200, "validation": 50, "test": 400}
    assert len(set.union(*cases.values())) == 650
    assert torch.equal(of_hf.validation.inputs, of_shf.validation.inputs)
    assert not torch.equal(of_hf.validation.inputs, other.validation.inputs)


# ---------------------------------------------------------------- evaluations


ERRORS = ("validation_objective", "validation_error", "test_error")


@pytest.mark.parametrize("method", ["hf", "shf"])
def test_rare_evaluations_leave_the_steps_as_they_are(tmp_path: Path, method: str) -> None:
    """shf's scheduler needs the validation objective at every step, which stays."""
    often = specs(tiny(tmp_path, "study.stop_at_target=false", "study.budget.iterations=5"))[method, 0]
    rarely = replace(often, evaluate_every=3)
    attempt(often, tmp_path)
    result = attempt(rarely, tmp_path)
    every, some = trace_of(often, tmp_path), trace_of(rarely, tmp_path)
    looked_at = [0, 3, 5]
    for name in ERRORS[1 if method == "shf" else 0 :]:
        assert list(some[name].dropna().index) == looked_at
        every.loc[~every["iteration"].isin(looked_at), name] = float("nan")
    pd.testing.assert_frame_equal(some, every, check_exact=True)
    assert result["final_test_error"] == every["test_error"].iloc[-1]


def test_a_target_is_looked_at_where_errors_are_evaluated(tmp_path: Path) -> None:
    often = specs(tiny(tmp_path))["hf", 0]
    met = attempt(often, tmp_path)["iterations"]
    assert 1 < met < 5
    rarely = attempt(replace(often, evaluate_every=5), tmp_path)
    assert (rarely["outcome"], rarely["iterations"]) == ("reached", 5)
    at_the_end = attempt(replace(often, evaluate_every=50, budget={"iterations": met}), tmp_path)
    assert (at_the_end["outcome"], at_the_end["iterations"]) == ("reached", met)


def test_progress_tells_the_last_error_that_is_known(tmp_path: Path) -> None:
    live = LiveRun(spec := replace(specs(tiny(tmp_path))["hf", 0], evaluate_every=2), load_data(spec))
    live.begin()
    live.advance()
    told = live.progress()
    assert (told["iteration"], told["test_error"], told["target_on"]) == (1, None, "validation")
    assert told["error"] == live.rows[0]["validation_error"]


def test_a_target_met_by_a_step_that_diverges_is_not_reached(tmp_path: Path) -> None:
    with registry.temporary("solver", "planted", Explodes):
        spec = specs(tiny(tmp_path, "study.targets.tiny-curves=1e6", extra=MISBEHAVING % ("odd", "planted")))["odd", 0]
        result = attempt(spec, tmp_path)
    assert result["final_test_error"] <= spec.target
    assert (result["outcome"], result["work_to_target"]) == ("diverged", None)


def test_a_step_that_is_not_finite_is_divergence_later_and_a_failure_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = specs(tiny(tmp_path, "study.stop_at_target=false"))["hf", 0]
    step = LiveRun._step

    def not_finite_at(bad: int) -> Any:
        def stepping(self: LiveRun, iteration: int, plan: Any) -> Any:
            if iteration == bad:
                raise NonFiniteError("planted")
            return step(self, iteration, plan)

        return stepping

    monkeypatch.setattr(LiveRun, "_step", not_finite_at(1))
    assert attempt(spec, tmp_path)["outcome"] == "failed"
    monkeypatch.setattr(LiveRun, "_step", not_finite_at(3))
    later = attempt(spec, tmp_path)
    assert (later["outcome"], later["iterations"], later["error"]) == ("diverged", 2, "planted")


def test_initial_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path))["hf", 0]
    live = LiveRun(spec, load_data(spec))
    with torch.no_grad():
        next(live.model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="finite outputs at its initial weights"):
        live.begin()


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "methods.hf.scheduler.gradient=201"))["hf", 0]
    message = r"^methods\.hf\.scheduler\.gradient on task tiny-curves: .* 200 training cases, but got 201\.$"
    with pytest.raises(ConfigError, match=message):
        LiveRun(spec, load_data(spec))


def test_a_scheduler_that_cannot_begin_is_named_with_the_task(tmp_path: Path) -> None:
    with registry.temporary("scheduler", "picky", Picky):
        spec = specs(tiny(tmp_path, "methods.hf.scheduler=picky"))["hf", 0]
        with pytest.raises(ConfigError, match=r"^methods\.hf\.scheduler on task tiny-curves: Sundays: closed\.$"):
            LiveRun(spec, load_data(spec))
        planned = specs(tiny(tmp_path, "methods.hf.scheduler={use='picky', plans=300}"))["hf", 0]
        message = r"^methods\.hf\.scheduler on task tiny-curves: a gradient batch must have 1 to 200 .* plans 300\.$"
        with pytest.raises(ConfigError, match=message):
            LiveRun(planned, load_data(planned))


def test_double_precision_goes_all_the_way(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.precision=float64"))["hf", 0]
    live = LiveRun(spec, load_data(spec))
    assert {p.dtype for p in live.model.parameters()} == {live.data.test.inputs.dtype} == {torch.float64}


def test_what_a_batch_needs_once_is_off_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = specs(tiny(tmp_path))["hf", 0]
    live = LiveRun(spec, load_data(spec))
    live.begin()
    prepare, begun = HessianFree.prepare, []

    def slow_at_first(self: HessianFree, *batch: Any) -> Any:
        if not begun:
            time.sleep(1.0)
        begun.append(self)
        return prepare(self, *batch)

    monkeypatch.setattr(HessianFree, "prepare", slow_at_first)
    live.advance()
    assert begun == [live.optimizer, live.optimizer]  # the run asks, and then the step
    assert live.rows[1]["seconds"] < 1.0


def test_threads_are_one_in_a_run_and_as_before_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    step = LiveRun._step
    monkeypatch.setattr(LiveRun, "_step", lambda self, *of: seen.append(torch.get_num_threads()) or step(self, *of))
    torch.set_num_threads(2)
    try:
        attempt(specs(tiny(tmp_path))["hf", 0], tmp_path)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
