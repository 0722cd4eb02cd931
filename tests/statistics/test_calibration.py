"""How often the statistics are wrong, and right, on simulated studies. `pytest -s` prints every measured figure.

Each rate is held against its promise plus three standard errors of the simulation. Studies are judged as real ones
are, by `judge_pairs`; reading them from a table of results is left out for speed and checked once.
"""

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from support.result_tables import runs

from hfbench.statistics import factorial
from hfbench.statistics.bounds import Bounds
from hfbench.statistics.comparisons import compare, judge_pairs
from hfbench.statistics.location_tests import TESTS
from hfbench.statistics.paired_tests import hodges_lehmann, wilcoxon_pratt
from hfbench.statistics.run_costs import CUT_OFF, REACHED, RunCost
from hfbench.statistics.simulation import SITUATIONS, rates, simulated_pairs

ALPHA = 0.05


def at_most(promise, repeats):
    return promise + 3 * math.sqrt(promise * (1 - promise) / repeats)


def say(what, rate, repeats):
    print(f"\n  {what}: {100 * rate:.1f} % of {repeats}", end="")


def paired(t, base, tau=math.inf):
    """Pairs as `pairs.pair` makes them from two methods' costs by seed, cut off by a limit of that cost."""

    def known(costs):
        return [RunCost(c, c, REACHED) if c <= tau else RunCost(tau, math.inf, CUT_OFF) for c in costs]

    of = simulated_pairs(known(t), known(base), None if math.isinf(tau) else tau)
    return replace(of, task="usps", method="lsmr", baseline="hf")


def costs(rng, n, ratio=1.0, sd=0.2, methods=1):
    """Log-normal costs of `methods` methods and the baseline, (methods + 1, n): seed effect .3, sd of d as given."""
    noise = 0.3 * rng.standard_normal(n) + sd / math.sqrt(2) * rng.standard_normal((methods + 1, n))
    noise[:-1] += math.log(ratio)
    return 100 * np.exp(noise)


def verdict(pairs, margin=1.10, alpha=ALPHA):
    (comparison,) = judge_pairs([pairs], margin, alpha)
    return comparison.verdict


def differs(word):
    return word.endswith(("better", "worse"))


def test_the_simulations_judge_what_a_table_of_results_holds():
    t, base = costs(np.random.default_rng(0), 9)
    tau = 110.0
    cut = {
        name: {s: c if c <= tau else None for s, c in enumerate(of.tolist())}
        for name, of in (("lsmr", t), ("hf", base))
    }
    rows = [
        [{name: value for name, value in one.to_row().items() if value == value} for one in found]
        for found in (
            compare(runs(cut, tau=tau), "hf", budget={"usps": tau}),
            judge_pairs([paired(t, base, tau)], 1.10, ALPHA),
        )
    ]
    assert rows[0] == rows[1]


# ---------------------------------------------------------------- one comparison

REPEATS = 1000
KINDS = ("continuous", "ties", "30 % censored")


@cache
def null_rate(kind, n):
    """How often two methods of equal costs come out better or worse."""
    rng = np.random.default_rng([n, KINDS.index(kind)])
    wrong = 0
    for _ in range(REPEATS):
        t, base = costs(rng, n)
        if kind == "ties":
            t, base = (10 * np.rint(of / 10) for of in (t, base))
        tau = float(np.quantile([t, base], 0.7)) if kind == "30 % censored" else math.inf
        wrong += differs(verdict(paired(t, base, tau)))
    return wrong / REPEATS


NULLS = list(itertools.product(KINDS, (7, 10)))


@pytest.mark.parametrize(("kind", "n"), NULLS)
def test_equal_methods_are_seldom_found_to_differ(kind, n):
    say(f"better or worse under the null, n = {n}, {kind}", null_rate(kind, n), REPEATS)
    assert null_rate(kind, n) <= at_most(ALPHA, REPEATS)


def test_equal_methods_are_seldom_found_to_differ_taken_together():
    rate, repeats = np.mean([null_rate(*one) for one in NULLS]), REPEATS * len(NULLS)
    say("better or worse under the null, all of these", rate, repeats)
    assert rate <= at_most(ALPHA, repeats)


SYMMETRIC = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "heavy tails (t, 3)": lambda rng, n: rng.standard_t(3, size=n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, size=n),
}


@pytest.mark.parametrize("kind", SYMMETRIC)
@pytest.mark.parametrize("n", [6, 7, 8, 10, 14, 20])
def test_intervals_cover_the_centre(kind, n):
    rng, repeats = np.random.default_rng([n, list(SYMMETRIC).index(kind)]), 1000
    ends = [hodges_lehmann(SYMMETRIC[kind](rng, n))[1:] for _ in range(repeats)]
    rate = np.mean([low <= 0 <= high for low, high in ends])
    say(f"95 % intervals that cover, n = {n}, {kind}", rate, repeats)
    assert rate >= 0.93


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("kind", SYMMETRIC)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_intervals_of_few_seeds_cover_the_centre_as_often_as_they_say(kind, n, name):
    rng, repeats = np.random.default_rng([n, list(SYMMETRIC).index(kind)]), 2000
    found = [TESTS[name].interval(Bounds.of(SYMMETRIC[kind](rng, n)), 0.95) for _ in range(repeats)]
    level, rate = found[0].level, np.mean([one.low <= 0 <= one.high for one in found])
    say(f"{100 * level:g} % intervals that cover, n = {n}, {kind}, {name}", rate, repeats)
    assert level == min(0.95, 1 - 2.0 ** (1 - n))
    assert abs(rate - (1 - 2.0 ** (1 - n))) <= 4 * math.sqrt(level * (1 - level) / repeats)


@pytest.mark.parametrize(
    ("margin", "sd", "tau"), [(1.10, 0.1, None), (1.10, 0.3, None), (1.10, 0.1, 0.85), (1.25, 0.1, None)]
)
@pytest.mark.parametrize("ratio", [1.25, 1 / 1.25])
def test_a_true_difference_of_a_quarter_is_seldom_called_equivalent(ratio, margin, sd, tau):
    rng, repeats = np.random.default_rng([int(100 * sd), int(100 * margin)]), 500
    wrong = 0
    for _ in range(repeats):
        t, base = costs(rng, 10, ratio, sd)
        limit = math.inf if tau is None else float(np.quantile([t, base], tau))
        wrong += verdict(paired(t, base, limit), margin) == "equivalent"
    say(f"equivalent within {margin} at a true {ratio:g}, sd {sd}, budget quantile {tau}", wrong / repeats, repeats)
    assert wrong / repeats <= at_most(ALPHA, repeats)


# sd of d, true ratio, level, and the pairs that the protocol's table promises 80 % power for
TABLED = [
    (0.10, 0.95, 0.05, 34),
    (0.10, 0.90, 0.05, 11),
    (0.20, 0.90, 0.05, 33),
    (0.20, 0.80, 0.05, 10),
    (0.30, 0.80, 0.05, 18),
    (0.30, 0.67, 0.05, 8),
    (0.10, 0.90, 0.05 / 3, 14),
    (0.20, 0.80, 0.05 / 3, 13),
    (0.30, 0.80, 0.05 / 3, 24),
]


@pytest.mark.parametrize(("sd", "ratio", "alpha", "n"), TABLED)
def test_the_tabled_pairs_show_a_difference_with_the_power_promised(sd, ratio, alpha, n):
    rng, repeats = np.random.default_rng(n), 500
    # a margin next to 1: equivalence, which comes first, is another question
    found = [verdict(paired(*costs(rng, n, ratio, sd)), margin=1.0001, alpha=alpha) for _ in range(repeats)]
    power = np.mean([word.endswith("better") for word in found])
    say(f"better at a true {ratio}, sd {sd}, alpha {alpha:.3f}, n = {n}", power, repeats)
    assert 0.75 <= power <= 0.92


@pytest.mark.parametrize(
    ("sd", "margin", "n"),
    [(0.05, 1.05, 11), (0.10, 1.05, 38), (0.10, 1.10, 12), (0.20, 1.10, 40), (0.20, 1.20, 13), (0.30, 1.20, 25)],
)
def test_the_tabled_pairs_show_equivalence_with_the_power_promised(sd, margin, n):
    rng, repeats = np.random.default_rng(n), 500
    power = np.mean([verdict(paired(*costs(rng, n, 1.0, sd)), margin) == "equivalent" for _ in range(repeats)])
    say(f"equivalent within {margin} at a true 1, sd {sd}, n = {n}", power, repeats)
    assert 0.75 <= power <= 0.92


# ---------------------------------------------------------------- families


def test_a_family_of_six_seldom_holds_one_wrong_verdict():
    rng, repeats, n = np.random.default_rng(6), 500, 10
    wrong = unadjusted = 0
    for _ in range(repeats):
        *methods, base = costs(rng, n, methods=6)
        family = judge_pairs([paired(t, base) for t in methods], 1.10, ALPHA)
        wrong += any(differs(one.verdict) for one in family)
        unadjusted += any(one.p < ALPHA for one in family)
    say("families of 6 with a wrong verdict", wrong / repeats, repeats)
    say("... and without Holm", unadjusted / repeats, repeats)
    assert wrong / repeats <= at_most(ALPHA, repeats)
    assert unadjusted / repeats > 2 * ALPHA


@pytest.mark.parametrize(
    ("n", "family", "least"), [(6, 1, 6), (6, 3, 7), (7, 3, 7), (7, 6, 8), (8, 6, 8), (9, 20, 10), (5, 1, 6)]
)
def test_a_p_value_that_could_not_reach_alpha_is_refused(n, family, least):
    base = 100.0 + np.arange(n)
    found = judge_pairs([paired(base / (2 + i), base) for i in range(family)], 1.10, ALPHA)
    for one in found:
        assert one.least_pairs == least
        assert one.p_attainable == pytest.approx(min(1.0, family * 2.0 ** (1 - n) if n >= 6 else 1.0))
        if n < least:
            assert (one.p, one.p_holm, one.verdict) == (None, None, "inconclusive (n too small)")
            assert one.needed is None or one.needed >= least
        else:
            assert one.p_holm < ALPHA
            assert one.verdict == "clearly better"


def test_a_refusal_counts_only_pairs_that_differ_and_what_the_rest_of_the_family_could_give():
    base = 100.0 + np.arange(12)
    tied = np.where(np.arange(12) < 6, base, base / 2)
    small, large = judge_pairs([paired(base[:6] / 2, base[:6]), paired(base / 2, base)], 1.10, ALPHA)
    assert (small.p_holm, large.p_holm) == (2 / 2**6, 2 * 2 / 2**12)  # the larger goes first and leaves alpha whole
    alone, with_ties = judge_pairs([paired(base[:6] / 2, base[:6]), paired(tied, base)], 1.10, ALPHA)
    assert alone.p_holm is with_ties.p_holm is None
    assert with_ties.verdict == "inconclusive (n too small)"


def test_a_refused_p_value_still_lets_equivalence_be_found():
    base = 100.0 + np.arange(6)
    found = judge_pairs([paired(base * (0.99 + 0.001 * i), base) for i in range(3)], 1.10, ALPHA)
    assert {one.verdict for one in found} == {"equivalent"}


# ---------------------------------------------------------------- what the order of rows and the seeds may not change


def test_rows_in_any_order_and_unequal_seeds_pair_by_seed():
    rng = np.random.default_rng(8)
    t, base = costs(rng, 14)
    table = {"hf": {s: base[s] for s in range(12)}, "lsmr": {s: t[s] for s in range(3, 14)}}
    (expected,) = judge_pairs([paired(t[3:12], base[3:12])], 1.10, ALPHA)
    for seed in range(3):
        (found,) = compare(runs(table).sample(frac=1, random_state=seed), "hf")
        assert (found.n, found.missing) == (9, 5)
        assert (found.ratio, found.p, found.ci_low, found.ci_high) == pytest.approx(
            (expected.ratio, expected.p, expected.ci_low, expected.ci_high)
        )


# ---------------------------------------------------------------- effects of a factorial study


def design(k):
    levels = list(itertools.product((0, 1), repeat=k))
    return factorial.Design(("a", "b", "c")[:k], {"".join(map(str, one)): one for one in levels})


def cells(rng, n, k, sd, main=(), joint=0.0, tau=math.inf):
    """A block of log-normal costs with effects `main` of the factors and `joint` of a × b; `sd` of each cell."""
    plan = design(k)
    levels = np.array(list(plan.levels.values()), dtype=float)
    mean = levels[:, : len(main)] @ np.array(main, dtype=float) + (joint * levels[:, 0] * levels[:, 1] if joint else 0)
    y = 0.3 * rng.standard_normal((n, 1)) + mean + sd * rng.standard_normal((n, 2**k))
    solved = y <= tau
    low = np.where(solved, y, tau)
    limit = None if math.isinf(tau) else math.exp(tau)
    bounds = Bounds(low, np.where(solved, y, math.inf))
    return factorial.BlockedRuns("usps", "work_to_target", limit, 0, bounds, ~solved, solved)


def judged(rng, n, k, sd, **made):
    found = factorial.judge_effects([cells(rng, n, k, sd, **made)], design(k), 1.10, ALPHA)
    return {one.name: one for one in found}


def is_found(effect):
    return differs(effect.verdict) or effect.verdict in ("synergy", "antagonism")


@pytest.mark.parametrize("tau", [math.inf, 0.15])
def test_a_factorial_study_without_effects_seldom_finds_one(tau):
    rng, repeats = np.random.default_rng(10), 300
    wrong = uncovered = effects = 0
    for _ in range(repeats):
        found = judged(rng, 10, 3, 0.3, tau=tau).values()
        wrong += any(map(is_found, found))
        uncovered += sum(not one.ci_low <= 1 <= one.ci_high for one in found)
        effects += len(found)
    say(f"2³ studies with a wrong verdict among 6 effects, n = 10, log tau {tau}", wrong / repeats, repeats)
    say("... intervals that cover", 1 - uncovered / effects, effects)
    assert wrong / repeats <= at_most(ALPHA, repeats)
    assert 1 - uncovered / effects >= 0.93


def test_the_tabled_pairs_show_effects_and_twice_as_large_interactions():
    """2²: the sd of a main effect is that of a cell, .2, an interaction's twice that; 13 seeds at .05/3 for .80."""
    rng, repeats, n = np.random.default_rng(13), 300, 13
    effect = math.log(0.8)
    main = np.mean([judged(rng, n, 2, 0.2, main=(effect,))["a"].verdict.endswith("better") for _ in range(repeats)])
    say("main effect .80 found, 2², cell sd .2, n = 13", main, repeats)
    both = {"main": (-effect, -effect), "joint": 2 * effect}  # so that the main effects are 1
    joint = np.mean([judged(rng, n, 2, 0.2, **both)["a:b"].verdict == "synergy" for _ in range(repeats)])
    say("interaction .64 found, 2², cell sd .2, n = 13", joint, repeats)
    assert 0.75 <= main <= 0.92
    assert 0.75 <= joint <= 0.92


def test_a_strong_factor_and_a_budget_do_not_make_an_idle_factor_look_busy():
    rng, repeats = np.random.default_rng(14), 400
    found = [judged(rng, 10, 2, 0.2, main=(0.0, -0.7), tau=0.0)["a"] for _ in range(repeats)]
    rate = np.mean([is_found(one) for one in found])
    say("idle factor found, the other halves the cost, a quarter of the runs cut off", rate, repeats)
    assert np.mean([one.censored for one in found]) == pytest.approx(0.25, abs=0.03)
    assert rate <= at_most(ALPHA, repeats)


def test_effects_that_multiply_are_not_called_synergy_because_the_budget_cut_one_cell():
    """Both factors halve the cost; the budget cuts off the cell with neither in half of the seeds."""
    rng, repeats, n = np.random.default_rng(15), 300, 20
    wrong = naive = covered = 0
    for _ in range(repeats):
        block = cells(rng, n, 2, 0.2, main=(-0.7, -0.7), tau=0.0)
        joint = factorial.judge_effects([block], design(2), 1.10, ALPHA)[-1]
        wrong += is_found(joint)
        covered += joint.ci_low <= 1 <= joint.ci_high
        naive += 3 * wilcoxon_pratt((block.y.low @ design(2).weights(("a", "b"))).round(12)) < ALPHA
    say("false synergy with one cell cut off, n = 20", wrong / repeats, repeats)
    say("... had the budget counted as the cost", naive / repeats, repeats)
    say("... intervals that cover", covered / repeats, repeats)
    assert wrong / repeats <= at_most(ALPHA, repeats)
    assert covered / repeats >= 0.93
    assert naive / repeats > 3 * ALPHA


# ---------------------------------------------------------------- situations, all of which `hfbench simulate` shows


def test_looking_three_times_undeclared_is_found_to_err_more():
    (naive,) = (one for one in SITUATIONS if one.looks and not one.declared)
    found = rates(naive, 20, studies=400)
    assert found.better + found.worse > ALPHA + 3 * found.error(ALPHA)
    assert "better or worse" in replace(found, situation=replace(naive, declared=True)).broken()


def test_claims_of_better_hold_however_small_the_difference():
    rng, repeats = np.random.default_rng(16), 300
    found = [judge_pairs([paired(*costs(rng, 10, 0.95, 0.03))], 1.10, ALPHA)[0] for _ in range(repeats)]
    rate = np.mean([one.differs == "better" for one in found])
    say("claims of better that hold at a true .95, sd .03, n = 10", rate, repeats)
    assert rate >= 0.95
    assert np.mean([one.verdict == "equivalent" for one in found]) > 0.9  # and are said to be equivalent beside it
