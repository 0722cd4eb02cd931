"""Tuning: the same trials whoever makes them, what becomes of each, and what it is measured by."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from support.sweep_stand_ins import FIRST, Bowl, Memory, bound, sweep, tuned

import hfbench.sweep.tuning as tuning_module
from hfbench.errors import ConfigError, StoreError
from hfbench.sweep.retest import score
from hfbench.sweep.trials import COMPLETE, FAILED, PRUNED, Trials
from hfbench.sweep.tuning import Tuning, measures_of, relative, spent


def outcome(trials: Any) -> dict[int, tuple[Any, ...]]:
    """What there is of each trial but for who made it."""
    return {
        index: (one.state, dict(one.params), {seed: dict(of) for seed, of in sorted(one.measures.items())})
        for index, one in trials.all().items()
    }


def stored(folder: Path, task: Bowl, home: str = "here") -> Trials:
    folder.mkdir(parents=True, exist_ok=True)
    return Trials(f"sqlite:///{folder}/sweeps.db", "bowl", folder, home, len(task.sweep.objectives))


# ---------------------------------------------------------------- the trials are the same, whoever makes them


@pytest.mark.parametrize("workers", [2, 5])
def test_the_trials_do_not_depend_on_the_number_of_workers(workers: int) -> None:
    task, alone, together = Bowl(sweep()), Memory(), Memory()
    runs = tuned(task, alone)
    assert sorted(tuned(task, together, workers, order=7)) == sorted(runs)
    assert outcome(together) == outcome(alone)
    assert len(set(runs)) == len(runs)


@pytest.mark.parametrize("workers", [2, 5])
def test_trials_with_the_same_settings_wait_for_the_runs_they_share(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampler may suggest what is under way, say an end of a range."""
    monkeypatch.setattr(tuning_module, "suggest", lambda *of: {"a": 1.0, "b": 0.5})
    task, trials = Bowl(sweep(trials=6, pruner="none")), Memory()
    tuning, running, most = Tuning(task, trials), {}, 0
    while not tuning.over:
        for key, spec in tuning.ready(workers - len(running)):
            assert key not in running
            running[key] = spec
        most = max(most, len(running))
        tuning.ended(task.result(running.pop(next(iter(running)))), 10.0)
    assert [trial.state for trial in trials.all().values()] == [COMPLETE] * 6
    assert all(len(trial.measures) == 5 for trial in trials.all().values())
    assert most == workers


def test_a_sweep_interrupted_twice_comes_to_the_same_trials_and_repeats_none(tmp_path: Path) -> None:
    """What is lost is what was under way; the records of runs that had ended would be read, not made again."""
    task = Bowl(sweep(trials=12))
    whole = Memory()
    expected = tuned(task, whole)
    made: list[str] = []
    for order, stop in ((1, 11), (2, 8), (3, None)):
        with stored(tmp_path, task) as trials:  # the same home: as after `kill -9`
            made += tuned(task, trials, workers=3, order=order, stop_after=stop)
            found = outcome(trials)
    assert sorted(made) == sorted(expected)
    assert found == outcome(whole)


def test_two_processes_on_one_storage_share_the_trials(tmp_path: Path) -> None:
    task = Bowl(sweep(trials=10))
    with stored(tmp_path, task, "one") as one, stored(tmp_path, task, "two") as two:
        sides = [Tuning(task, one), Tuning(task, two)]
        running: list[list[Any]] = [[], []]
        made: list[list[str]] = [[], []]
        while not all(side.over for side in sides):
            for side, waiting, keys in zip(sides, running, made, strict=True):
                waiting += side.ready(2 - len(waiting))
                if waiting:
                    _, spec = waiting.pop(0)
                    keys.append(spec.key())
                    side.ended(task.result(spec), 10.0)
        found = outcome(one)
    whole = Memory()
    assert sorted(made[0] + made[1]) == sorted(tuned(task, whole))
    assert found == outcome(whole)
    assert min(map(len, made)) > 5


def test_a_sweep_cut_to_fewer_trials_is_what_it_would_have_been_with_these_alone(tmp_path: Path) -> None:
    with stored(tmp_path, Bowl(sweep())) as trials:
        tuned(Bowl(sweep(trials=9)), trials)
        shorter, whole = Tuning(Bowl(sweep(trials=6)), trials), Memory()
        assert set(shorter.all) == set(range(6))  # at once, since a sweep that is over asks no further
        assert shorter.over
        assert shorter.ready(4) == []
        tuned(Bowl(sweep(trials=6)), whole)
        cut = {index: (one.state, one.measures) for index, one in shorter.all.items()}
    assert cut == {index: (one.state, one.measures) for index, one in whole.all().items()}


def test_several_objectives_are_stored_and_interrupted_like_one(tmp_path: Path) -> None:
    task, whole = Bowl(sweep(objectives=("work_to_target", "distinct_to_target"), pruner="none", trials=8)), Memory()
    expected = tuned(task, whole)
    made: list[str] = []
    for stop in (13, None):
        with stored(tmp_path, task) as trials:
            made += tuned(task, trials, workers=2, stop_after=stop)
            found = outcome(trials)
    assert sorted(made) == sorted(expected)
    assert found == outcome(whole)


# ---------------------------------------------------------------- what becomes of a trial


def test_the_first_trial_is_the_method_as_it_stands() -> None:
    trials = Memory()
    tuned(Bowl(sweep(trials=3)), trials)
    assert trials.all()[0].params == FIRST
    assert [one.state for one in trials.all().values()] == [COMPLETE] * 3


def test_the_pruner_spares_seeds_and_never_the_first_trials() -> None:
    task, trials, all_ = Bowl(sweep()), Memory(), Memory()
    tuned(task, trials)
    tuned(Bowl(sweep(pruner="none")), all_)
    states = [one.state for one in trials.all().values()]
    assert states[:4] == [COMPLETE] * 4
    assert states.count(PRUNED) > 4
    assert all(len(one.measures) == 5 for one in all_.all().values())
    for one in trials.all().values():
        assert (one.state == COMPLETE) == (len(one.measures) == 5)
        assert len(one.measures) >= 3


def test_hours_end_a_sweep_by_what_its_runs_took() -> None:
    """Each run takes a minute, and a trial five; those under way count as those that have ended."""
    trials = Memory()
    tuned(Bowl(sweep(hours=40 / 60, pruner="none", trials=100)), trials)
    assert len(trials.all()) == 8


@pytest.mark.parametrize("workers", [1, 4])
def test_passes_end_a_sweep_at_about_as_many(workers: int) -> None:
    trials = Memory()
    tuned(Bowl(sweep(passes={"bowl": 4000.0}, pruner="none", trials=100)), trials, workers)
    taken = [spent(trial, "passes") for _, trial in sorted(trials.all().items())]
    assert 0.7 * 4000 < sum(taken) < 1.3 * 4000
    again = Memory()
    tuned(Bowl(sweep(passes={"bowl": 4000.0}, pruner="none", trials=100)), again, 3, order=1)
    assert len(again.all()) == len(taken)


def test_a_sweep_of_trials_that_fail_ends_too() -> None:
    class Fails(Bowl):
        def result(self, spec: Any) -> dict[str, Any]:
            result = super().result(spec)
            return result if spec.params == self.first else result | {"outcome": "failed", "error": "boom"}

    trials = Memory()
    tuned(Fails(sweep(passes={"bowl": 4000.0}, pruner="none", sampler="random", trials=10_000)), trials)
    assert len(trials.all()) == math.ceil(4000 / spent(trials.all()[0], "passes"))


def test_a_failed_run_fails_its_trial_and_no_other() -> None:
    class Fails(Bowl):
        def result(self, spec: Any) -> dict[str, Any]:
            result = super().result(spec)
            return result | {"outcome": "failed", "error": "boom"} if spec.params["b"] < 0.3 else result

    trials = Memory()
    tuned(Fails(sweep(sampler="random", pruner="none")), trials)
    for one in trials.all().values():
        assert one.state == (FAILED if one.params["b"] < 0.3 else COMPLETE)
    failed = [one for one in trials.all().values() if one.state == FAILED]
    assert failed
    assert failed[0].why.endswith(": boom")


def test_a_method_that_fails_as_it_stands_ends_the_sweep() -> None:
    class Fails(Bowl):
        method = type("Named", (), {"name": "shf"})

        def result(self, spec: Any) -> dict[str, Any]:
            return super().result(spec) | {"outcome": "failed", "error": "boom"}

    with pytest.raises(StoreError, match="the untuned shf fails on bowl: seed 100[0-4]: boom"):
        tuned(Fails(sweep()), Memory())


def test_a_constraint_keeps_the_best_from_being_what_it_forbids() -> None:
    """The cost is least at b = 0.35, where what is bounded, 2 - b, is 1.38 times that of the first trial."""
    task = Bowl(sweep(constraint=bound("distinct_to_target", 1.1)))  # 2 - b: b at least 0.68
    trials = Memory()
    tuned(task, trials)
    from hfbench.sweep.retest import candidates

    assert all(one.params["b"] >= 0.67 for one in candidates(trials.all(), task.sweep))


# ---------------------------------------------------------------- measures


@pytest.mark.parametrize(
    ("result", "measure", "value"),
    [
        ({"work": 50.0, "work_to_target": 40.0}, "work_to_target", 40.0),
        ({"work": 130.0, "work_to_target": None}, "work_to_target", 200.0),
        ({"work": 130.0, "work_to_target": None, "final_validation_error": 5.0}, "work_to_target", 125.0),
        ({"work": 130.0, "work_to_target": None, "final_validation_error": 3.9}, "work_to_target", 100.0),
        ({"work": 13.0, "work_to_target": None, "final_validation_error": None}, "work_to_target", 2000.0),
        ({"work": 13.0, "work_to_target": None, "final_validation_error": math.nan}, "work_to_target", 2000.0),
        ({"work": 130.0, "work_to_target": 120.0}, "work_to_target", 100.0),
        ({"distinct": 0.9, "distinct_to_target": None}, "distinct_to_target", 1.8),
        ({"final_test_error": 3.0}, "final_test_error", 3.0),
        ({"final_test_error": None}, "final_test_error", 80.0),
        ({"final_validation_error": 3.0}, "final_validation_error", 3.0),
        ({"final_validation_error": None}, "final_validation_error", 80.0),
        ({"final_test_error": math.inf}, "final_test_error", 80.0),
    ],
)
def test_what_a_run_comes_to(result: dict[str, Any], measure: str, value: float) -> None:
    """A run that missed its target of 4 counts by its last error, of 8 where not given, and of 80 if it diverged."""
    spec: Any = type("Spec", (), {"budget": {"passes": 100.0}, "target": 4.0, "target_on": "validation"})
    given = {"seconds": 2.0, "work": 130.0, "final_validation_error": 8.0, **result}
    found = measures_of(given, spec, [measure], 80.0)
    assert found == {"seconds": 2.0, "passes": result.get("work", 130.0), measure: value}


def test_a_target_of_zero_gives_a_miss_no_ratio() -> None:
    spec: Any = type("Spec", (), {"budget": {"passes": 100.0}, "target": 0.0, "target_on": "test"})
    result = {"seconds": 2.0, "work": 100.0, "work_to_target": None, "final_test_error": 3.0}
    assert measures_of(result, spec, ["work_to_target"], 80.0)["work_to_target"] == 100.0


def test_a_sweep_in_which_every_run_misses_its_target_still_learns() -> None:
    """The error falls towards the optimum and never reaches the target, so that the costs alone say nothing."""

    class Missed(Bowl):
        def result(self, spec: Any) -> dict[str, Any]:
            error = 5 * math.exp(self.true(spec.params))
            return {**super().result(spec), "work": 1e4, "work_to_target": None, "final_test_error": error}

    def best(sampler: str, identity: str) -> float:
        task, memory = Missed(sweep(sampler=sampler, trials=30), identity), Memory()
        tuned(task, memory)
        complete = [trial for trial in memory.all().values() if trial.state == COMPLETE]
        chosen = min(complete, key=lambda one: score(one.measures, memory.all()[0].measures, task.sweep))
        return task.true(chosen.params)

    chance = sorted(best("random", str(index)) for index in range(9))
    assert best("gp", "0") < chance[4]


@pytest.mark.parametrize("cases", ["test", "validation"])
def test_with_an_error_comes_what_it_lies_below_where_it_is_zero(cases: str) -> None:
    spec: Any = type("Spec", (), {"budget": {}})
    error, resolution = f"final_{cases}_error", f"{cases}_resolution"
    resolutions = {"test_resolution": 0.25, "validation_resolution": 0.25, resolution: 0.5}
    result = {"seconds": 2.0, "work": 9.0, error: 0.0, **resolutions}
    found = measures_of(result, spec, [error], 80.0)
    assert found == {"seconds": 2.0, "passes": 9.0, error: 0.0, resolution: 0.5}
    first = {1: {error: 8.0, resolution: 0.5}}
    assert relative({1: found}, first, error) == {1: pytest.approx(math.log(0.5 / 8))}
    assert relative({1: found}, {1: found}, error) == {1: 0.0}
    nothing = {error: 0.0}  # of a model that was right on every case from the beginning
    assert relative({1: nothing}, {1: nothing}, error) == {1: 0.0}


def test_a_cost_of_zero_has_no_ratio_and_says_so() -> None:
    spec: Any = type("Spec", (), {"budget": {}, "name": "shf/usps/s3"})
    result = {"seconds": 2.0, "work": 9.0, "products": 0, "products_to_target": 0}
    with pytest.raises(ConfigError, match=r"products_to_target: costs must be positive .* got 0 \(shf/usps/s3\)"):
        measures_of(result, spec, ["products_to_target"], 80.0)


@pytest.mark.parametrize("pruner", ["none", "wilcoxon"])
def test_a_sweep_whose_test_error_becomes_zero_comes_to_an_end(pruner: str) -> None:
    """Also where a trial is taken up again that has such a run behind it."""

    class Separable(Bowl):
        def result(self, spec: Any) -> dict[str, Any]:
            error = 2.0 * round(2 * spec.params["b"])
            return {**super().result(spec), "final_test_error": error, "test_resolution": 2.0}

    task = Separable(sweep(objectives=("final_test_error",), pruner=pruner, sampler="random", trials=12))
    trials = Memory()
    tuned(task, trials, stop_after=30)
    tuned(task, trials)
    first = trials.found[0].measures
    scores = [
        score(trial.measures, first, task.sweep)
        for trial in trials.found.values()
        if not any(measured["final_test_error"] for measured in trial.measures.values())
    ]
    assert scores
    assert scores == pytest.approx([math.log(2.0 / 4.0)] * len(scores))  # the resolution over the first trial's error


def test_ratios_are_taken_seed_by_seed() -> None:
    first = {1: {"work": 10.0}, 2: {"work": 40.0}}
    assert relative({1: {"work": 20.0}, 3: {"work": 1.0}}, first, "work") == {1: pytest.approx(math.log(2))}
