"""What a study will cost: pace and target extrapolated from rows whose end is known, and runs that go on after."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console
from support.tiny_study import run_quietly, specs, tiny, trace_of, uses_mlflow

from hfbench.commands import run_plan
from hfbench.commands.run_plan import (
    Estimate,
    FixedCosts,
    at_budget,
    at_target,
    duration,
    makespan,
    plan_study,
    size,
    summary,
    whole,
)
from hfbench.config.study import Study
from hfbench.execution.pilot import PilotRun, Sample
from hfbench.records.run_folder import RunFolder

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


def planned(study: Study, results: Path, jobs: int = 1) -> tuple[int, str]:
    screen = io.StringIO()
    return plan_study(study, results, jobs, None, Console(file=screen, width=80)), screen.getvalue()


def steady(n: int, seconds: float, work: float, error: float) -> list[dict[str, float]]:
    """n steps, each of so many seconds and passes, that multiply the test error."""
    return [
        {
            "iteration": k,
            "seconds": seconds * k,
            "work": work * k,
            "products": 10.0 * k,
            "test_error": 80 * error**k,
        }
        for k in range(n + 1)
    ]


def test_a_steady_run_is_told_to_the_second() -> None:
    rows = steady(12, 0.5, 4.0, 0.9)
    assert at_budget(rows, {"passes": 400.0}) == pytest.approx(50.0)
    assert at_budget(rows, {"passes": 400.0, "iterations": 30.0}) == pytest.approx(15.0)
    assert at_budget(rows, {"seconds": 77.0}) == pytest.approx(77.0)
    assert at_budget(rows, {"products": 200.0}) == pytest.approx(10.0)
    assert at_target(rows, 80 * 0.9**40) == pytest.approx(20.0)
    assert at_target(rows, 79.0) == rows[-1]["seconds"]  # is there


def test_the_pace_is_that_of_the_last_third() -> None:
    rows = [{**row, "seconds": max(row["seconds"], 3.0 * row["iteration"] - 20.0)} for row in steady(12, 0.5, 4.0, 0.9)]
    assert at_budget(rows, {"iterations": 20.0}) == pytest.approx(rows[-1]["seconds"] + 8 * 3.0, rel=0.2)


def test_an_error_that_does_not_fall_never_comes_to_the_target() -> None:
    assert at_target(steady(12, 0.5, 4.0, 1.01), 10.0) == math.inf


def test_workers_take_the_longest_runs_first() -> None:
    assert makespan([3.0, 3.0, 2.0, 2.0, 2.0], 2) == 7.0
    assert makespan([3.0, 3.0, 2.0, 2.0, 2.0], 1) == 12.0
    assert makespan([9.0, 1.0], 8) == 9.0
    assert makespan([], 3) == 0.0


def test_what_is_paid_once_is_counted_once() -> None:
    once = FixedCosts(startup=4.0, before=7.0, after=5.0, logged=0.5)
    assert whole([10.0, 10.0, 10.0, 10.0], 1, once) == 7 + 40 + 2 + 5  # one worker is the command's own process
    assert whole([10.0, 10.0, 10.0, 10.0], 2, once) == 7 + 4 + 20 + 1 + 5
    assert whole([10.0, 10.0, 10.0, 10.0], 4, once) == 7 + 4 + 10 + 0.5 + 5
    assert whole([0.1] * 100, 64, once) == 7 + 50 + 5  # one process logs
    assert whole([], 2, once) == 7 + 5


def test_a_run_takes_its_clock_and_what_is_around_it_with_the_mean_of_seeds(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.budget.passes=400"))["hf", 0]
    ended = PilotRun("a", [{**row, "peak_memory": 7.0} for row in steady(6, 0.5, 4.0, 0.9)], True, 2.0, start=1.0)
    going = PilotRun("b", [{**row, "peak_memory": 9.0} for row in steady(4, 1.0, 4.0, 1.0)], False, 1.5, start=3.0)
    assert ended.wall(3.0) == 7.0
    found = run_plan._estimate(("t", "hf"), spec, ["b", "c"], Sample([ended, going]))
    at_six = min(6 / 4, 400 / 16) * 4.0  # the study's six iterations
    assert found.seconds == pytest.approx((7.0 + 3.0 + 1.5 * at_six) / 2)
    assert found.iterations == pytest.approx(6.0)
    assert (found.left, found.memory, found.known) == (2, 9, False)
    assert found.done == pytest.approx((3.0 + 1.5 * 4.0,))  # what is begun is not to be paid again
    lines = list(summary([found], 3, 2, FixedCosts(4.0, 7.0, 5.0, 0.5)))
    assert lines[0].startswith(f"2 of 3 runs left: {duration(2 * found.seconds - sum(found.done))} of one core")
    assert lines[2:] == [
        "beside them: 7.0 s before the first run, 1.0 s for MLflow, 5.0 s for the report",
        "a worker takes 4.0 s to start",
    ]


def test_a_fast_machine_takes_less_of_its_own_and_a_slow_one_more() -> None:
    assert run_plan._pace(run_plan.IMPORTS) == 1.0
    assert run_plan._pace(2 * run_plan.IMPORTS) == 2.0
    assert (run_plan._pace(100.0), run_plan._pace(0.0)) == (2.0, 0.25)
    known = run_plan._once(startup=9.0, checked=2.0, tasks=3, pace=1.0)
    assert known.startup == 9.0
    assert known.before == run_plan.OPEN + 2.0
    assert known.after == run_plan.REPORT + 3 * run_plan.FIGURES
    assert run_plan._once(0.0, 0.0, 1, pace=0.5).startup == 0.5 * run_plan.WORKER


def test_other_seeds_follow_a_run_that_ends_at_once(tmp_path: Path) -> None:
    """Up to a third of them, and as far as the time for one run goes."""
    study = tiny(tmp_path, "study.seeds=6")
    status, text = planned(study, tmp_path / "results")
    assert (status, "8 of 12 runs left" in text) == (0, True)
    assert RunFolder(tmp_path / "results", specs(study)["hf", 1].key()).is_complete()
    assert not RunFolder(tmp_path / "results", specs(study)["hf", 2].key()).is_complete()


def test_more_seeds_of_long_runs_are_begun_where_there_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the six seeds, if the plan may take so long; each goes on from where it was left."""
    monkeypatch.setattr(run_plan, "PROBE", 0.0)  # two steps are made all the same
    study = tiny(tmp_path, "study.seeds=6", "study.stop_at_target=false")
    for patience, seeds in ((0.0, 1), (60.0, 2)):
        monkeypatch.setattr(run_plan, "PATIENCE", patience)
        results = tmp_path / f"results-{seeds}"
        status, text = planned(study, results)
        assert (status, "12 of 12 runs left" in text, f"beginning {2 * seeds} runs" in text) == (0, True, True)
        begun = [RunFolder(results, specs(study)["hf", seed].key()).load_checkpoint() for seed in range(3)]
        assert [one is not None for one in begun] == [seed < seeds for seed in range(3)]


def test_runs_that_end_at_once_are_told_as_they_were(tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.seeds=3")
    status, text = planned(study, tmp_path / "results")
    assert status == 0
    assert max(map(len, text.splitlines())) <= 80
    assert "4 of 6 runs left" in text  # the first seed's have ended
    for name in ("hf", "shf"):
        steps = len(RunFolder(tmp_path / "results", specs(study)[name, 0].key()).rows()) - 1
        line = next(one.split() for one in text.splitlines() if name in one.split())
        assert str(steps) in line
    status, again = planned(study, tmp_path / "results")
    assert (status, "4 of 6 runs left" in again) == (0, True)


def test_a_run_begun_for_it_goes_on_in_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_plan, "PROBE", 0.0)  # two steps are made all the same
    study = tiny(tmp_path, "study.stop_at_target=false")
    folder = RunFolder(tmp_path / "results", specs(study)["hf", 0].key())
    status, text = planned(study, tmp_path / "results")
    assert status == 0
    assert "4 of 4 runs left" in text
    assert "~" in text
    begun = (folder.load_checkpoint() or {})["rows"]
    assert len(begun) == 3
    run_quietly(study, tmp_path / "results")
    run_quietly(study, tmp_path / "whole")
    spec = specs(study)["hf", 0]
    assert trace_of(spec, tmp_path / "results").equals(trace_of(spec, tmp_path / "whole"))
    assert [row["seconds"] for row in folder.rows()][: len(begun)] == [row["seconds"] for row in begun]


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
