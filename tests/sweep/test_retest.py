from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import Any

import pytest
from support.sweep_stand_ins import FIRST, Bowl, Memory, sweep, tuned

from hfbench.sweep.retest import Winner, candidates, select
from hfbench.sweep.trials import COMPLETE, PRUNED, Trial
from hfbench.sweep.tuning import measures_of


def trial(index: int, costs: list[float], state: str = COMPLETE) -> Trial:
    measures = {1000 + i: {"work_to_target": cost, "seconds": 1.0} for i, cost in enumerate(costs)}
    return Trial(index, index, {"a": 0.1 * (index + 1), "b": 0.5}, state, "here", str(index), measures)


def again(costs: dict[int, float]) -> dict[int, Any]:
    return {index: {2000: {"work_to_target": cost, "seconds": 1.0}} for index, cost in costs.items()}


def frozen_on(task: Bowl) -> tuple[Winner, dict[int, Trial]]:
    """A whole sweep of a stand-in task: tuned, tested again, frozen."""
    trials = Memory()
    tuned(task, trials)
    found = trials.all()
    chosen = candidates(found, task.sweep)
    measures = {
        one.index: {
            seed: measures_of(task.result(spec), spec, task.sweep.measures, 10.0)  # type: ignore[arg-type]
            for seed in task.sweep.retest
            for spec in [task.spec(one.params, seed)]
        }
        for one in [found[0], *chosen]
    }
    return select(chosen, measures, found[0], task.sweep), found


def test_the_best_complete_trials_are_candidates_but_never_the_first() -> None:
    made = [trial(0, [1, 1]), trial(1, [3, 3]), trial(2, [2, 2]), trial(3, [0.1], PRUNED)]
    trials = dict(enumerate(made))
    assert [one.index for one in candidates(trials, sweep(candidates=5))] == [2, 1]
    assert [one.index for one in candidates(trials, sweep(candidates=1))] == [2]


def test_what_is_best_when_tested_again_is_frozen() -> None:
    chosen = [trial(1, [5, 5]), trial(2, [6, 6])]
    found = select(chosen, again({0: 10.0, 1: 9.0, 2: 7.0}), trial(0, [10, 10]), sweep())
    assert (found.index, found.kept) == (2, False)
    assert [round(math.exp(one.retest), 9) for one in found.candidates] == [0.9, 0.7]
    assert found.optimism == pytest.approx(math.log(0.5 / 0.9))  # of the winner of the tuning, not of what is frozen


def test_where_nothing_is_better_the_method_is_kept_as_it_stands() -> None:
    first = trial(0, [10, 10])
    found = select([trial(1, [5, 5])], again({0: 10.0, 1: 11.0}), first, sweep())
    assert (found.index, found.kept, found.params) == (0, True, first.params)


@pytest.mark.slow
def test_frozen_settings_beat_the_first_and_the_reported_optimism_is_unbiased() -> None:
    """50 whole sweeps of a bowl with noise as large as what there is to win near its bottom."""
    better, errors, optimism = 0, [], []
    for i in range(50):
        task = Bowl(sweep(trials=20), identity=f"simulated {i}", noise=0.25)
        found, trials = frozen_on(task)
        better += task.true(found.params) < task.true(FIRST)
        winner = min(found.candidates, key=lambda one: (one.tuning, one.index))
        promised = winner.tuning - (task.true(winner.params) - task.true(FIRST))  # what it really is too good by
        errors.append(found.optimism - promised)
        optimism.append(promised)
        assert len(trials) == 20
    bias, deviation = fmean(errors), stdev(errors) / math.sqrt(len(errors))
    factor = math.exp(-fmean(optimism))
    print(f"\n  frozen settings beat the first in {better} of 50 sweeps; the winner looks too good by a factor of")
    print(f"  {factor:.2f}, reported with a bias of {bias:+.3f} (standard error {deviation:.3f}) in its log")
    assert better >= 45
    assert abs(bias) < 2.5 * deviation
    assert fmean(optimism) < -3 * stdev(optimism) / math.sqrt(50)  # there is something to report


def test_of_several_objectives_the_front_is_tested_again_evenly() -> None:
    costs = {0: (10, 10), 1: (1, 9), 2: (2, 8), 3: (3, 7), 4: (4, 6), 5: (5, 5), 6: (5, 6), 7: (4, 9)}
    trials = {}
    for index, (work, distinct) in costs.items():
        measures = {1000: {"work_to_target": float(work), "distinct_to_target": float(distinct), "seconds": 1.0}}
        trials[index] = Trial(index, index, {"a": 0.1, "b": 0.5}, COMPLETE, "here", str(index), measures)
    both = ("work_to_target", "distinct_to_target")
    for most, expected in ((9, [1, 2, 3, 4, 5]), (3, [1, 3, 5]), (2, [1, 5]), (1, [1])):
        assert [one.index for one in candidates(trials, sweep(objectives=both, candidates=most))] == expected
    assert candidates({0: trials[0]}, sweep(objectives=both)) == []
