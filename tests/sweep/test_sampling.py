from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from support.sweep_stand_ins import sweep

from hfbench.config.sweep import Sweep
from hfbench.parts.hyperparameters import Choice, Integers, Linear, Log, Search
from hfbench.sweep.sampling import Observation, grid, is_hopeless, sampler_text, seed_order, suggest

SPACE = {"a": Log(1e-3, 1.0), "b": Linear(0.0, 1.0), "c": Integers(1, 20)}
FIRST = {"a": 0.1, "b": 0.9, "c": 5}


def bowl(params: dict) -> float:
    return (math.log10(params["a"]) + 1.5) ** 2 + 4 * (params["b"] - 0.3) ** 2 + ((params["c"] - 12) / 10) ** 2


def over(parameters: Mapping[str, Search], sampler: str, **changes: Any) -> Sweep:
    """A sweep of these ranges."""
    return sweep(parameters=dict(parameters), sampler=sampler, **changes)


def course(sampler: str, trials: int, identity: str = "x") -> list[Observation]:
    seen = [Observation(FIRST, (bowl(FIRST),))]
    for index in range(1, trials):
        params = suggest(over(SPACE, sampler), seen, identity, index)
        seen.append(Observation(params, (bowl(params),)))
    return seen


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_a_suggestion_depends_on_what_was_seen_and_on_nothing_else(sampler: str) -> None:
    seen = course("random", 14)
    pending = Observation({"a": 0.02, "b": 0.5, "c": 3}, None)
    again = [suggest(over(SPACE, sampler), [*seen, pending], "x", 15) for _ in range(2)]
    assert again[0] == again[1]
    assert again[0] != suggest(over(SPACE, sampler), [*seen, pending], "another sweep", 15)
    assert again[0] != suggest(over(SPACE, sampler), [*seen, pending], "x", 16)
    assert all(
        low <= again[0][name] <= high for name, (low, high) in {"a": (1e-3, 1), "b": (0, 1), "c": (1, 20)}.items()
    )
    assert isinstance(again[0]["c"], int)


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_sampler_is_named_for_the_trials_that_it_draws(sampler: str) -> None:
    """Where it is said to draw at random, other scores change nothing; afterwards they do."""

    def depends_on_scores(ended: int, startup_trials: int = 10) -> bool:
        seen = course("random", ended)
        other = [Observation(one.params, (float(-index),)) for index, one in enumerate(seen)]
        of = over(SPACE, sampler, startup_trials=startup_trials)
        first, second = (suggest(of, given, "x", ended + 3) for given in (seen, other))
        return first != second

    def drawn(trials: int, ahead: int, startup_trials: int) -> str:
        return sampler_text(sweep(sampler=sampler, trials=trials, ahead=ahead, startup_trials=startup_trials))

    assert drawn(40, 4, 10) == f"{sampler} from trial 13 on, random before"
    assert drawn(14, 4, 10) == f"{sampler} from trial 13 on, random before"
    assert drawn(13, 4, 10) == f"random, since {sampler} takes over at trial 13"
    assert drawn(40, 1, 10) == f"{sampler} from trial 10 on, random before"
    assert drawn(40, 2, 3) == f"{sampler} from trial 4 on, random before"
    assert [depends_on_scores(ended) for ended in (9, 10)] == [False, True]  # trial 12, trial 13
    assert [depends_on_scores(ended, 3) for ended in (2, 3)] == [False, sampler == "gp"]  # three tell tpe nothing


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_a_sampler_that_does_not_learn_draws_all_trials(sampler: str) -> None:
    assert sampler_text(sweep(sampler=sampler)) == sampler


@pytest.mark.slow
def test_the_samplers_find_a_smooth_minimum_sooner_than_chance() -> None:
    found = {sampler: min(one.values[0] for one in course(sampler, 30) if one.values) for sampler in ("tpe", "gp")}
    chance = sorted(min(one.values[0] for one in course("random", 30, str(i)) if one.values) for i in range(9))
    assert found["gp"] < chance[0]
    assert found["tpe"] < chance[4]


def test_two_objectives_and_a_constraint_are_taken() -> None:
    seen = [Observation({**FIRST, "b": i / 20}, (i / 20, 1 - i / 20), excess=i / 20 - 0.5) for i in range(20)]
    assert set(suggest(over(SPACE, "tpe", objectives=("work_to_target", "distinct_to_target")), seen, "x", 20)) == set(
        SPACE
    )


def test_tpe_keeps_to_where_the_constraint_holds() -> None:
    """The objective falls with b, which may not pass 0.5."""
    seen = [Observation(FIRST, (0.0,), excess=0.4)]
    for index in range(1, 40):
        params = suggest(over(SPACE, "tpe"), seen, "x", index)
        seen.append(Observation(params, (-params["b"],), excess=params["b"] - 0.5))
    late = [one.params["b"] for one in seen[25:]]
    assert sum(b <= 0.5 for b in late) > 0.6 * len(late)


def test_a_grid_is_every_combination_but_the_first_trial() -> None:
    space = {"a": Choice(1, 2, 3), "b": Choice(False, True)}
    first = {"a": 2, "b": False}
    found = [suggest(over(space, "grid"), [Observation(first, (0.0,))], "x", index) for index in range(1, 6)]
    assert found == grid(space, first)
    assert len({tuple(one.values()) for one in [*found, first]}) == 6


def test_what_is_worse_on_every_seed_has_no_hope_and_a_better_one_has() -> None:
    best = {1: 0.0, 2: 0.1, 3: 0.2, 4: 0.3, 5: 0.4}
    assert not is_hopeless({1: 1.0, 2: 1.1}, best)  # too few
    assert is_hopeless({1: 1.0, 2: 1.1, 3: 1.4}, best)
    assert not is_hopeless({1: 1.0, 2: -1.1, 3: 1.4}, best)
    assert not is_hopeless({1: -1.0, 2: -1.1, 3: -1.4}, best)


def test_every_trial_meets_the_seeds_in_an_order_of_its_own() -> None:
    seeds = list(range(1000, 1005))
    orders = [seed_order(seeds, "x", index) for index in range(8)]
    assert all(sorted(order) == seeds for order in orders)
    assert len({tuple(order) for order in orders}) > 4
    assert orders[3] == seed_order(seeds, "x", 3)
