"""What a study will cost: pace and target extrapolated from rows whose end is known."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.made_records import records
from support.tiny_study import TEXT, specs, tiny, uses_mlflow

from hfbench.commands import run_plan
from hfbench.commands.run_plan import (
    Estimate,
    FixedCosts,
    at_budget,
    at_target,
    makespan,
    plan_study,
    plan_summary,
    size,
    whole,
)
from hfbench.config.study import Study
from hfbench.execution.pilot import PilotRun, Sample
from hfbench.records.run_folder import RunFolder
from hfbench.report.wording import duration

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


def planned(study: Study, results: Path, jobs: int = 1) -> tuple[int, str]:
    screen = io.StringIO()
    return plan_study(study, results, jobs, None, Console(file=screen, width=80)), screen.getvalue()


def steady(n: int, seconds: float, work: float, error: float) -> list[dict[str, float]]:
    """n steps, each of so many seconds and passes, that multiply the errors."""
    return [
        {
            "iteration": k,
            "seconds": seconds * k,
            "work": work * k,
            "products": 10.0 * k,
            "test_error": 80 * error**k,
            "validation_error": 80 * error**k,
        }
        for k in range(n + 1)
    ]


def test_a_steady_run_is_told_to_the_second() -> None:
    rows = steady(12, 0.5, 4.0, 0.9)
    assert at_budget(rows, {"passes": 400.0}) == pytest.approx(50.0)
    assert at_budget(rows, {"passes": 400.0, "iterations": 30.0}) == pytest.approx(15.0)
    assert at_budget(rows, {"seconds": 77.0}) == pytest.approx(77.0)
    assert at_budget(rows, {"products": 200.0}) == pytest.approx(10.0)
    assert at_target(rows, 80 * 0.9**40, "test_error") == pytest.approx(20.0)
    assert at_target(rows, 79.0, "test_error") == rows[-1]["seconds"]  # is there
    rarely = [{**row, "test_error": row["test_error"] if row["iteration"] % 4 == 0 else None} for row in rows]
    assert at_target(rarely, 80 * 0.9**40, "test_error") == pytest.approx(20.0)


def test_the_pace_is_that_of_the_last_third() -> None:
    rows = [{**row, "seconds": max(row["seconds"], 3.0 * row["iteration"] - 20.0)} for row in steady(12, 0.5, 4.0, 0.9)]
    assert at_budget(rows, {"iterations": 20.0}) == pytest.approx(rows[-1]["seconds"] + 8 * 3.0, rel=0.2)


def test_an_error_that_does_not_fall_never_comes_to_the_target() -> None:
    assert at_target(steady(12, 0.5, 4.0, 1.01), 10.0, "test_error") == math.inf


def test_workers_take_the_longest_runs_first() -> None:
    assert makespan([3.0, 3.0, 2.0, 2.0, 2.0], 2) == 7.0
    assert makespan([3.0, 3.0, 2.0, 2.0, 2.0], 1) == 12.0
    assert makespan([9.0, 1.0], 8) == 9.0
    assert makespan([], 3) == 0.0


def test_what_is_paid_once_is_counted_once() -> None:
    once = FixedCosts(before=7.0, after=5.0, logged=0.5)
    assert whole([10.0, 10.0, 10.0, 10.0], 1, once) == 7 + 40 + 2 + 5
    assert whole([10.0, 10.0, 10.0, 10.0], 2, once) == 7 + 20 + 1 + 5
    assert whole([10.0, 10.0, 10.0, 10.0], 4, once) == 7 + 10 + 0.5 + 5
    assert whole([0.1] * 100, 64, once) == 7 + 50 + 5  # one process logs
    assert whole([], 2, once) == 7 + 5


def test_a_run_takes_its_clock_and_what_is_around_it_with_the_mean_of_seeds(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.budget.passes=400"))["hf", 0]
    ended = PilotRun("a", [{**row, "peak_memory": 7.0} for row in steady(6, 0.5, 4.0, 0.9)], True, 2.0, start=1.0)
    going = PilotRun("b", [{**row, "peak_memory": 9.0} for row in steady(4, 1.0, 4.0, 1.0)], False, 1.5, start=3.0)
    assert ended.wall(3.0) == 7.0
    found = run_plan._estimate(("t", "hf"), spec, {"b": None, "c": None}, Sample([ended, going]))
    at_six = min(6 / 4, 400 / 16) * 4.0  # the study's six iterations
    assert found.seconds == pytest.approx((7.0 + 3.0 + 1.5 * at_six) / 2)
    assert found.iterations == pytest.approx(6.0)
    assert (found.left, found.memory, found.known) == (2, 9, False)
    assert found.done == pytest.approx((3.0 + 1.5 * 4.0,))  # what is begun is not to be paid again
    lines = list(plan_summary([found], 3, 2, FixedCosts(7.0, 5.0, 0.5)))
    assert lines[0].startswith(f"2 of 3 runs left: {duration(2 * found.seconds - sum(found.done))} of one core")
    assert lines[2:] == [
        "besides: 7.0 s before the first run, 1.0 s for MLflow, 5.0 s for the report",
    ]


def test_a_run_that_its_budget_ends_takes_the_disk_of_its_checkpoint(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.budget.passes=400", "study.targets.tiny-curves=1e-9"))["hf", 0]
    rows = [{**row, "peak_memory": 7.0} for row in steady(4, 0.5, 4.0, 0.9)]
    states = {}
    for target in (1e-9, rows[-1]["test_error"] * 0.95):
        sample = Sample([PilotRun("a", rows, False, 1.0, state=1_000_000)])
        states[target] = run_plan._estimate(("t", "hf"), replace(spec, target=target), {"a": None}, sample)
    cut_off, reached = states.values()
    assert (cut_off.state, reached.state) == (1_000_000, 0)
    assert cut_off.disk > 1_000_000 > reached.disk
    with_weights = Sample([PilotRun("a", rows, False, 1.0, state=1_000_000, weights=300_000)])
    estimate = run_plan._estimate(("t", "hf"), replace(spec, target=target), {"a": None}, with_weights)
    assert estimate.disk == reached.disk + 300_000  # which every run leaves


def test_what_a_shorter_run_took_is_not_to_be_paid_again(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.budget.passes=400"))["hf", 0]
    shorter = RunFolder(tmp_path, "shorter")
    shorter.create({})
    shorter.finish([], {"outcome": "budget", "seconds": 1.5})
    rows = [{**row, "peak_memory": 7.0} for row in steady(6, 0.5, 4.0, 0.9)]
    sample = Sample([PilotRun("a", rows, True, 2.0)])
    assert run_plan._estimate(("t", "hf"), spec, {"b": shorter, "c": None}, sample).done == (3.0,)


def test_a_fast_machine_takes_less_of_its_own_and_a_slow_one_more() -> None:
    assert run_plan._pace(run_plan.IMPORTS) == 1.0
    assert run_plan._pace(2 * run_plan.IMPORTS) == 2.0
    assert (run_plan._pace(100.0), run_plan._pace(0.0)) == (2.0, 0.25)
    known = run_plan._once(checked=2.0, tasks=3, pace=1.0)
    assert known.before == run_plan.OPEN + 2.0
    assert known.after == run_plan.REPORT + 3 * run_plan.FIGURES
    assert run_plan._once(0.0, 1, pace=0.5).before == 0.5 * run_plan.OPEN


def test_a_method_that_fails_says_so_and_the_others_are_told(tmp_path: Path) -> None:
    study = tiny(tmp_path, extra='[methods.bad]\nsolver = "dense"\npreconditioner = "identity"\nscheduler = "fixed"\n')
    status, text = planned(study, tmp_path / "results")
    assert status == 1
    assert "failed: " in text
    assert "2 of 6 runs left" not in text  # the failed ones are tried anew


def test_a_method_that_follows_another_is_taken_to_be_as_long(tmp_path: Path) -> None:
    study = tiny(tmp_path, extra='[methods.again]\nsolver = "cg"\npreconditioner = "martens"\nbatches_of = "shf"\n')
    status, text = planned(study, tmp_path / "results")
    assert status == 0
    assert "4 of 6 runs left" in text
    said = " ".join(text.split())
    few = "With 2 seeds no comparison can reach a verdict: 2 comparisons with 'hf' need at least 7 paired seeds."
    assert said.index("starting") < said.index(few) < said.index("Cost of one run")


def test_a_damaged_record_is_named_and_stays_where_it_is(tmp_path: Path) -> None:
    study, results = tiny(tmp_path), tmp_path / "results"
    records(study, results)
    spec = specs(study)["shf", 1]
    folder = RunFolder(results, spec.key())
    folder.trace_path.write_bytes(b"torn")
    _, text = planned(study, results)
    assert f"{spec.name} will be set aside and made again: runs/{folder.key}: trace.parquet must have" in text
    assert "1 of 4 runs left" in text
    assert folder.trace_path.read_bytes() == b"torn"


def test_words() -> None:
    assert [duration(s) for s in (4.26, 40.2, 125.0, 7200.0, 400000.0)] == [
        "4.3 s",
        "40 s",
        "2.1 min",
        "2.0 h",
        "4.6 days",
    ]
    assert [size(n) for n in (3400, 340_000, 1.21e9, 4e12)] == ["3.4 kB", "340 kB", "1.2 GB", "4.0 TB"]
    one = Estimate("t", "m", 1, 1.0, 1.0, 1000.0, 0, True)
    assert one.disk == 25_000 + 10_000 + 150_000 + 15_000 + 50 * 24 * 230


def test_methods_of_the_same_settings_are_named(results: Path, tmp_path: Path) -> None:
    twin = TEXT[TEXT.index("[methods.hf]") : TEXT.index("[methods.shf]")].replace("hf", "twin")
    status, said = planned(tiny(tmp_path, "study.seeds=1", "study.budget.iterations=1", extra=twin), results)
    assert status == 0
    assert "The methods hf, twin have the same settings" in said
