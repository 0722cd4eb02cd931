"""Interaction plots: the means of the cells, their intervals, and parallel lines."""

import itertools

import numpy as np
import pytest
from scipy import stats
from support.drawn_figures import drawn, words
from support.result_tables import runs

from hfbench.figures import interactions
from hfbench.figures.interactions import LEVELS, cell_means, t_interval

LEVELS_OF = {f"m{a}{b}": (a, b) for a, b in itertools.product((0, 1), repeat=2)}
SETTINGS = {"factors": ("solver", "scheduler"), "levels": LEVELS_OF, "budget": {"usps": 400.0}}


def factorial(effect_a=0.5, effect_b=0.8, both=1.0, seeds=5):
    factor = {m: effect_a**a * effect_b**b * both ** (a * b) for m, (a, b) in LEVELS_OF.items()}
    return runs({m: {s: 100.0 * (1 + s) ** 0.5 * f for s in range(seeds)} for m, f in factor.items()})


def curves(axes):
    colours = [look.colour for look in LEVELS]
    return [line for line in axes.get_lines() if line.get_color() in colours]


def test_points_are_geometric_means_and_lines_parallel_where_effects_multiply():
    (axes,) = drawn(interactions, factorial(), **SETTINGS).axes
    low, high = (np.asarray(line.get_ydata()) for line in curves(axes))
    mean = 100 * np.exp(np.mean(0.5 * np.log(np.arange(1, 6))))
    np.testing.assert_allclose(low, [mean, 0.5 * mean])
    np.testing.assert_allclose(high, [0.8 * mean, 0.4 * mean])
    assert axes.get_yscale() == "log"
    on_screen = [axes.transScale.transform(np.column_stack([[0, 1], y]))[:, 1] for y in (low, high)]
    np.testing.assert_allclose(*(np.diff(y) for y in on_screen))


def test_an_interaction_bends_one_line():
    (axes,) = drawn(interactions, factorial(both=1.5), **SETTINGS).axes
    slopes = [np.diff(np.log(line.get_ydata()))[0] for line in curves(axes)]
    np.testing.assert_allclose(slopes[1] - slopes[0], np.log(1.5))


def test_intervals_are_students_over_seeds():
    values = np.array([1.0, 2.0, 4.0, 3.5])
    mean, low, high = t_interval(values)
    assert mean == values.mean()
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose((low, high), (expected.low, expected.high))
    assert np.isnan(t_interval(values[:1])[1:]).all()


def test_a_cell_is_the_mean_of_its_methods_by_seed():
    means = cell_means(np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]), [(0, 0), (0, 0), (1, 0)])
    np.testing.assert_array_equal(means[0, 0], [2, 3])
    np.testing.assert_array_equal(means[1, 0], [5, 6])


def test_three_factors_have_a_panel_for_each_pair_and_names_for_their_levels():
    levels = {f"m{i}": one for i, one in enumerate(itertools.product((0, 1), repeat=3))}
    records = runs({m: {s: 50.0 + s + 10 * sum(at) for s in range(3)} for m, at in levels.items()})
    figure = drawn(
        interactions, records, factors=("a", "b", "c"), levels=levels, names={"a": ("cg", "lsmr"), "c": ("old", "new")}
    )
    assert [axes.get_xlabel() for axes in figure.axes] == ["a", "a", "b"]
    assert [axes.get_legend().get_title().get_text() for axes in figure.axes] == ["b", "c", "c"]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["cg", "lsmr"]
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["old", "new"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert "over seeds, n = 3." in words(figure)


def test_unsolved_runs_count_as_the_budget_and_are_said():
    costs = {m: {0: 100.0, 1: None if m == "m00" else 100.0} for m in LEVELS_OF}
    figure = drawn(interactions, runs(costs), **SETTINGS)
    (axes,) = figure.axes
    assert curves(axes)[0].get_ydata()[0] == pytest.approx(200.0)  # the geometric mean of 100 and 400
    assert "1 of 8 runs did not reach the target" in words(figure)


def test_a_seed_without_any_cost_is_left_out():
    """A run that failed before it spent anything, and where no run spent more, has no logarithm."""
    records = runs({m: {0: 100.0 + 10 * a + b, 1: None} for m, (a, b) in LEVELS_OF.items()})
    records.loc[(records["method"] == "m00") & (records["seed"] == 1), "work"] = 0.0
    assert "over seeds, n = 1." in words(drawn(interactions, records, **SETTINGS))
    failed = runs({m: {0: "failed"} for m in LEVELS_OF})
    assert "nothing to show" in words(drawn(interactions, failed, **{**SETTINGS, "budget": None}))


def test_a_seed_missing_in_a_cell_is_left_out():
    records = factorial(seeds=3)
    records = records[~((records["method"] == "m11") & (records["seed"] == 2))]
    assert "over seeds, n = 2." in words(drawn(interactions, records, **SETTINGS))
