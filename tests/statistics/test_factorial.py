"""Main effects and interactions of a factorial ablation: against least squares and by hand."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.multitest import multipletests
from support.factorial_tables import FACTORS, by_name, cut, design, study
from support.result_tables import runs, simulated

from hfbench.errors import ConfigError
from hfbench.statistics.comparisons import compare
from hfbench.statistics.factorial import Design, block, contrast, effects

# ---------------------------------------------------------------- the design


def test_the_effects_and_weights_of_a_design_by_hand():
    plan = design(3)
    assert plan.effects == [(a,) for a in FACTORS] + list(itertools.combinations(FACTORS, 2))
    assert design(2).weights(("solver",)).tolist() == [-0.5, -0.5, 0.5, 0.5]
    assert design(2).weights(("preconditioner",)).tolist() == [-0.5, 0.5, -0.5, 0.5]
    assert design(2).weights(("solver", "preconditioner")).tolist() == [1, -1, -1, 1]
    assert plan.weights(("solver",)).tolist() == [-0.25] * 4 + [0.25] * 4
    assert plan.matched(("solver",)) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert plan.matched(("solver", "scheduler")) == [[0, 1, 4, 5], [2, 3, 6, 7]]


@pytest.mark.parametrize(
    ("factors", "levels", "message"),
    [
        (("a", "b"), {"x": (0, 0), "y": (0, 1), "z": (1, 0)}, "4 combinations of levels, but a=1, b=1 is missing"),
        (("a",), {"x": (0,), "y": (1,), "z": (1,)}, "a=1 is there 2 times: y, z"),
        (
            ("a", "b"),
            {"x": (0, 0), "y": (0, 1), "z": (1, 0), "u": (1, 2)},
            "u: a level, 0 or 1, is needed for each of a",
        ),
        (("a", "b"), {"x": (0,)}, r"x: a level.*but got \(0,\)"),
        (("a", "b", "c"), {}, r"a=0, b=0, c=0 is missing;.*; and 4 more"),
        ((), {"x": ()}, "one or more factors, each once, but got none"),
        (("a", "a"), {}, "each once, but got a, a"),
    ],
)
def test_a_design_that_is_no_full_factorial_is_refused(factors, levels, message):
    with pytest.raises(ConfigError, match=message):
        Design(factors, levels)


# ---------------------------------------------------------------- the numbers


def test_means_equal_least_squares_with_contrast_coding_and_seed_blocks():
    records = study(k=3, n=7, sd=0.3, joint=-0.2, solver=-0.3, scheduler=0.4)
    levels = pd.DataFrame(design(3).levels, index=list("abc")).T - 0.5
    data = records.join(levels, on="method").assign(y=np.log(records["work_to_target"].astype(float)))
    fitted = smf.ols("y ~ C(seed) + (a + b + c)**2", data).fit().params
    found = by_name(records, k=3)
    for name, coefficient in zip(found, ("a", "b", "c", "a:b", "a:c", "b:c"), strict=True):
        assert found[name].mean_log_ratio == pytest.approx(fitted[coefficient], abs=1e-11)


def test_two_factors_by_hand():
    costs = {"m00": 400.0, "m01": 200.0, "m10": 100.0, "m11": 25.0}
    records = runs({name: {s: cost * (s + 1) for s in range(8)} for name, cost in costs.items()}, tau=1e6)
    found = by_name(records)
    assert found["solver"].ratio == pytest.approx(math.sqrt(100 / 400 * 25 / 200))
    assert found["preconditioner"].ratio == pytest.approx(math.sqrt(200 / 400 * 25 / 100))
    assert found["solver:preconditioner"].ratio == pytest.approx((25 / 200) / (100 / 400))
    assert [one.verdict for one in found.values()] == ["clearly better", "clearly better", "synergy"]
    assert {(one.n, one.wins, one.cells, one.family, one.censored) for one in found.values()} == {(8, 8, 4, 3, 0.0)}
    assert {one.p for one in found.values()} == {2 / 2**8}
    assert {one.p_holm for one in found.values()} == {3 * 2 / 2**8}


def test_one_factor_is_a_comparison():
    records = simulated(0.93, 0.1, 12, np.random.default_rng(2))
    (comparison,) = compare(records, "hf", budget={"usps": 110.0})
    (effect,) = effects(records, Design(("solver",), {"hf": (0,), "lsmr": (1,)}), budget={"usps": 110.0})
    same = (
        "n", "limit", "wins", "losses", "ties", "p", "p_holm", "p_attainable", "rank_biserial", "verdict", "needed",
        "enough_solved", "family", "missing", "unknown",
    )  # fmt: skip
    assert [getattr(effect, name) for name in same] == [getattr(comparison, name) for name in same]
    close = ("ratio_low", "ratio_high", "ci_low", "ci_high", "mean_log_ratio", "sd", "p_tost", "p_tost_holm")
    expected = [getattr(comparison, name) for name in close]
    assert [getattr(effect, name) for name in close] == pytest.approx(expected, nan_ok=True)
    assert effect.censored_to == 1 - comparison.solved / 12


def test_naming_the_ends_the_other_way_round_inverts_main_effects_and_keeps_interactions():
    records = study(k=2, joint=-0.3, solver=-0.2)
    turned = Design(FACTORS[:2], {name: (1 - a, 1 - b) for name, (a, b) in design().levels.items()})
    for forth, back in zip(effects(records, design()), effects(records, turned), strict=True):
        assert back.p == forth.p
        if forth.kind == "main effect":
            assert (back.ratio, back.ci_low) == pytest.approx((1 / forth.ratio, 1 / forth.ci_high))
            assert back.wins == forth.losses
        else:
            assert (back.ratio, back.wins, back.verdict) == (pytest.approx(forth.ratio), forth.wins, forth.verdict)


def test_equal_costs_tie_though_logarithms_round():
    base = {s: 0.1 * (s + 1) for s in range(8)}
    records = runs({name: {s: 3 * cost / 3 for s, cost in base.items()} for name in design().levels})
    for one in effects(records, design()):
        assert (one.ties, one.ratio) == (8, 1.0)


def test_seeds_without_all_cells_are_left_out_and_rows_come_in_any_order():
    records = study(n=10)
    gaps = records[~((records["method"] == "m01") & records["seed"].isin([2, 5]))]
    gaps = gaps[~((gaps["method"] == "m10") & (gaps["seed"] == 5))]
    extra = runs({"adam": dict.fromkeys(range(4), 50.0)})
    found = effects(pd.concat([gaps, extra]).sample(frac=1, random_state=1), design(), budget={"usps": 1e6})
    complete = effects(records[~records["seed"].isin([2, 5])], design(), budget={"usps": 1e6})
    assert [(one.n, one.missing) for one in found] == [(8, 2)] * 3
    assert [(one.ratio, one.p, one.verdict) for one in found] == [(one.ratio, one.p, one.verdict) for one in complete]


def test_all_effects_of_all_tasks_are_one_family_and_equivalence_one_of_main_effects():
    records = pd.concat([study(k=3, sd=0.3, solver=-0.1), study(k=3, sd=0.1, seed=1, scheduler=0.1, task="curves")])
    found = effects(records, design(3), tasks=["usps", "curves"])
    assert [one.task for one in found] == ["usps"] * 6 + ["curves"] * 6
    assert {one.family for one in found} == {12}
    assert [one.p_holm for one in found] == pytest.approx(multipletests([one.p for one in found], method="holm")[1])
    main = [one for one in found if one.kind == "main effect"]
    adjusted = multipletests([one.p_tost for one in main], method="holm")[1]
    assert [one.p_tost_holm for one in main] == pytest.approx(adjusted)
    assert {one.p_tost for one in found if one.kind == "interaction"} == {None}


def test_a_factor_that_changes_nothing_is_equivalent_and_an_interaction_never_is():
    found = by_name(study(n=12, sd=0.03, preconditioner=-0.5))
    assert [one.verdict for one in found.values()] == ["equivalent", "clearly better", "inconclusive"]


def test_too_few_seeds_for_the_family_give_no_p_value():
    found = by_name(study(n=7, k=3, sd=0.01, solver=-0.5), k=3)
    assert {one.p_holm for one in found.values()} == {None}
    assert found["solver"].verdict == found["solver:scheduler"].verdict == "inconclusive (n too small)"
    assert {one.least_pairs for one in found.values()} == {8}
    assert by_name(study(n=8, k=3, sd=0.01, solver=-0.5), k=3)["solver"].verdict == "clearly better"


def test_an_interaction_needs_about_four_times_the_seeds_of_a_main_effect():
    found = by_name(study(n=40, sd=0.4, seed=3))
    assert found["solver:preconditioner"].sd == pytest.approx(2 * found["solver"].sd, rel=0.25)
    assert found["solver:preconditioner"].needed > 2 * found["solver"].needed


# ---------------------------------------------------------------- the budget


def test_runs_that_miss_the_target_are_tested_at_the_limit_and_bound_the_ratio():
    costs = {"m00": {0: 100.0}, "m01": {0: 300.0}, "m10": {0: None}, "m11": {0: "failed"}}
    plan = design()
    made = block(runs(costs), "usps", plan, "work_to_target", 200.0)
    main = contrast(made, plan, ("solver",))
    # m10 over m00: more than 400/100, for it was cut off; m11 and m01 (300 is beyond the limit) both missed: 0
    assert main.within.low[0] == pytest.approx(math.log(4) / 2)
    assert main.within.high[0] == math.inf
    assert (main.d.low[0], main.d.high[0]) == (-math.inf, math.inf)  # m01 and m11 may both be anything
    found = by_name(runs(costs), budget={"usps": 200.0})
    assert (found["solver"].censored_from, found["solver"].censored_to) == (0.5, 1.0)
    assert found["preconditioner"].solved_together == 0.0
    assert found["solver:preconditioner"].solved_together == 0.0


def test_a_task_nobody_solved_is_inconclusive():
    for records in (runs({name: dict.fromkeys(range(8), how) for name in design().levels}) for how in (None, "failed")):
        for one in effects(records, design(), budget={"usps": 400.0}):
            assert (one.ratio_low, one.ratio_high, one.censored, one.needed) == (0.0, math.inf, 1.0, None)
            assert one.verdict.startswith("inconclusive")


def test_equivalence_takes_every_value_that_a_cut_off_cell_may_have():
    records = study(n=14, sd=0.01)
    for seeds, verdict in ((range(0), "equivalent"), (range(1), "equivalent"), (range(5), "inconclusive")):
        shown = cut(cut(records, "m00", seeds), "m10", seeds)  # the same two cells on both sides
        assert by_name(shown, budget={"usps": 300.0})["solver"].verdict == verdict


@pytest.mark.parametrize(
    ("method", "joint", "ends", "verdict"),
    [
        (
            "m00",
            -0.5,
            ("some", "inf"),
            "inconclusive",
        ),  # too dear to be seen: it would make effects that multiply synergy
        ("m11", -0.5, ("some", "inf"), "inconclusive"),
        ("m01", -0.5, ("0", "some"), "synergy"),
        ("m00", 0.5, ("some", "inf"), "antagonism"),
        ("m01", 0.5, ("0", "some"), "inconclusive"),
    ],
)
def test_a_cell_the_budget_cut_off_bounds_an_interaction_on_one_side(method, joint, ends, verdict):
    one = by_name(cut(study(n=10, sd=0.02, joint=joint), method, range(6)), budget={"usps": 300.0})[
        "solver:preconditioner"
    ]
    seen = ("0" if one.ci_low == 0 else "some", "inf" if one.ci_high == math.inf else "some")
    assert (seen, one.verdict) == (ends, verdict)
    assert one.censored == 6 / 40


# ---------------------------------------------------------------- bad input, rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"primary": "work_to_targe"}, "did you mean 'work_to_target'"),
        ({"margin": 0.9}, "margin > 1"),
        ({"tasks": ["mnist"]}, "there are: usps"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        effects(study(n=2), design(), **options)
    with pytest.raises(ConfigError, match="no run of method 'm000'"):
        effects(study(n=2), design(3))


def test_rows_are_plain_json():
    main, *_, joint = (one.to_row() for one in effects(study(n=5), design()))
    assert json.loads(json.dumps([main, joint], allow_nan=False)) == [main, joint]
    assert (main["effect"], main["kind"], joint["effect"]) == ("solver", "main effect", "solver:preconditioner")
    assert (main["ci_level"], "factors" in main) == (0.9375, False)
    assert effects(study(n=5), design())[0].metrics()["stat/ratio"] == main["ratio"]
