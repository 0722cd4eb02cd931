"""Trials as rows: what is shown, which make the front, which settings lie at an end of their range."""

from __future__ import annotations

import numpy as np
import pytest
from support.sweep_stand_ins import PARAMETERS, Bowl, Memory, sweep, tuned

from hfbench.parts.hyperparameters import Choice, Integers, Linear, Log
from hfbench.sweep.trial_rows import Point, at_ends, front, importances, is_log, points, trial_rows, unit
from hfbench.sweep.trials import COMPLETE, FAILED, PRUNED, Trial


def trial(index: int, costs: dict[int, float], state: str = COMPLETE, why: str = "") -> Trial:
    measures = {seed: {"work_to_target": cost} for seed, cost in costs.items()}
    return Trial(index, index, {"a": 0.1, "b": 0.5}, state, "here", str(index), measures, why)


def point(index: int, *ratios: float, state: str = COMPLETE, allowed: bool = True) -> Point:
    return Point(index, {}, state, ratios, {}, allowed)


def test_points_are_ratios_to_the_first_trial_of_what_has_a_score() -> None:
    trials = {
        0: trial(0, {1000: 10.0, 1001: 20.0}),
        1: trial(1, {1000: 5.0, 1001: 40.0}),
        2: trial(2, {}, FAILED, "it broke"),
    }
    first, second = points(trials, sweep(seeds=(1000, 1001)))
    assert (first.index, first.ratios) == (0, (pytest.approx(1.0),))
    assert second.ratios == (pytest.approx(1.0),), "the geometric mean of a half and twice"
    assert second.by_seed == {1000: pytest.approx(0.5), 1001: pytest.approx(2.0)}


def test_the_front_is_what_no_other_beats() -> None:
    shown = [
        point(0, 1.0, 1.0), point(1, 0.5, 1.5), point(2, 0.6, 1.6), point(3, 1.2, 0.4),
        point(4, 0.1, 0.1, state=PRUNED), point(5, 0.1, 0.1, allowed=False),
    ]  # fmt: skip
    assert [one.index for one in front(shown)] == [1, 0, 3]


def test_there_is_a_row_for_each_stage_and_seed_and_one_for_a_trial_without_any() -> None:
    trials = {0: trial(0, {1000: 10.0, 1001: 20.0}), 1: trial(1, {}, FAILED, "it broke")}
    made = trial_rows("shf", "usps", trials, {0: {2000: {"work_to_target": 11.0}}})
    assert [(row["trial"], row["stage"], row.get("seed"), row.get("work_to_target")) for row in made] == [
        (0, "tuning", 1000, 10.0), (0, "tuning", 1001, 20.0), (0, "again", 2000, 11.0), (1, "tuning", None, None),
    ]  # fmt: skip
    assert (made[-1]["why"], made[0]["a"], made[0]["task"]) == ("it broke", 0.1, "usps")


def test_settings_lie_on_the_scale_they_are_searched_on() -> None:
    assert unit([1e-4, 1e-3, 1e-2], Log(1e-4, 1e-2)) == pytest.approx([0, 0.5, 1])
    assert unit([1, 2, 3], Linear(1, 3)) == pytest.approx([0, 0.5, 1])
    assert unit([0, 1, 2], Choice("a", "b", "c")) == pytest.approx([0, 0.5, 1])
    assert [is_log(search) for search in (Log(1, 2), Integers(1, 9, log=True), Integers(1, 9), Linear(1, 2))] == [
        True, True, False, False,
    ]  # fmt: skip


def test_settings_at_an_end_of_their_range_are_told_with_it() -> None:
    parameters = {"low": Log(1e-4, 1.0), "high": Linear(0.0, 1.0), "inside": Linear(0.0, 1.0), "kind": Choice("a", "b")}
    assert at_ends({"low": 1.1e-4, "high": 0.97, "inside": 0.5, "kind": "a"}, parameters) == {"low": 1e-4, "high": 1.0}


def test_importances_are_shares_once_there_are_enough_trials() -> None:
    trials = Memory()
    tuned(Bowl(sweep()), trials)
    shown = points(trials.all(), sweep())
    found = importances(shown, PARAMETERS)
    assert set(found) == {"fANOVA", "PED-ANOVA"}
    for shares in found.values():
        assert set(shares) == {"a", "b"}
        assert np.isclose(sum(shares.values()), 1)
    assert importances(shown[:5], PARAMETERS) == {}
    assert importances(shown, {"a": PARAMETERS["a"]}) == {}
