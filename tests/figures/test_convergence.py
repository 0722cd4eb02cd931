"""Convergence figures: medians and quartiles, scales, the target, and what is said beside them."""

import numpy as np
import pandas as pd
import pytest
from support.drawn_figures import drawn, lines, trace, words

from hfbench.errors import ConfigError
from hfbench.figures import convergence, four_costs
from hfbench.figures.style import COLOURS

BLUE, ORANGE = COLOURS[:2]


def curve(work, error):
    work = np.asarray(work, dtype=float)
    return pd.DataFrame({"work": work, "seconds": work / 9, "test_error": error})


def falling(seed, end=100.0):
    work = np.concatenate([[0.0], np.geomspace(1, end, 30)])
    return curve(work, 80 / (1 + 0.1 * work) * (1 + 0.01 * seed))


def flat(levels=(1.0, 2.0, 3.0, 4.0, 5.0)):
    return [curve([1, 10], [level, level]) for level in levels]


# ---------------------------------------------------------------- the figure


def test_the_line_drawn_is_the_median_and_the_shade_the_quartiles():
    figure = drawn(convergence, {("hf", s): one for s, one in enumerate(flat())}, x="work")
    (axes,) = figure.axes
    ((x, y),) = lines(axes, BLUE)
    assert (x[0], x[-1]) == (1.0, 10.0)
    np.testing.assert_allclose(y, 3.0)
    shade = axes.collections[0].get_paths()[0].vertices
    assert (shade[:, 1].min(), shade[:, 1].max()) == (2.0, 4.0)


def test_a_marker_stands_where_too_few_seeds_go_on():
    traces = {("hf", s): falling(0, 10.0 * (s + 1)) for s in range(7)}
    (axes,) = drawn(convergence, traces, x="work").axes
    ((x, y),) = lines(axes, BLUE)
    (end,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert (end.get_xdata()[0], end.get_ydata()[0]) == (x[-1], y[-1])
    assert 29 < x[-1] <= 30


def test_ticks_on_the_target_line_are_the_runs_that_reach_it():
    traces = {("hf", 0): curve([0, 2, 5], [9, 7, 4]), ("hf", 1): curve([0, 3, 6], [9, 8, 7])}
    (axes,) = drawn(convergence, traces, x="work", target=5.0).axes
    (ticks,) = [line for line in axes.get_lines() if line.get_marker() == "|"]
    assert list(ticks.get_xdata()) == [5.0]
    assert list(ticks.get_ydata()) == [5.0]
    low, high = axes.get_ylim()
    assert low < 5.0 < high


@pytest.mark.parametrize(("errors", "scale"), [((80, 9), "log"), ((8, 7), "linear"), ((5, -1), "linear")])
def test_the_axis_is_logarithmic_where_the_range_asks_for_it(errors, scale):
    (axes,) = drawn(convergence, {("hf", 0): curve([1, 9], errors)}, x="work").axes
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    assert low < min(errors) < max(errors) < high


def test_four_costs_share_the_errors_and_count_passes():
    traces = {(method, seed): trace(12) for method in ("hf", "b") for seed in range(3)}
    figure = drawn(four_costs, traces, cases=500, target=7.0)
    names = [axes.get_xlabel() for axes in figure.axes]
    assert names == [
        "work (passes over the training cases)", "Gauss-Newton products", "training time (s)",
        "distinct cases touched (passes)",
    ]  # fmt: skip
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    ((x, _),) = lines(figure.axes[3], BLUE, least=100)
    assert (x[0], x[-1]) == (0.1, 1.0)
    assert "n = 3 seeds per method" in words(figure)


def test_without_the_number_of_cases_they_are_counted():
    ((x, _),) = lines(drawn(four_costs, {("hf", 0): trace(12)}).axes[3], BLUE)
    assert (x[0], x[-1]) == (50.0, 500.0)


def test_a_panel_says_which_methods_it_lacks_and_which_are_a_point():
    adam = trace(12, products=np.nan)
    figure = drawn(four_costs, {("adam", 0): adam, ("hf", 0): trace(12, distinct_cases=500)}, cases=500)
    assert figure.axes[1].get_title(loc="right") == "without: adam"
    assert figure.axes[3].get_title(loc="right") == "one point: hf"
    assert lines(figure.axes[1], BLUE) == []
    assert "One point: all of the cost" in words(figure)


def test_a_cost_that_no_method_has_is_left_out():
    figure = drawn(four_costs, {("adam", seed): trace(12, products=np.nan) for seed in range(2)}, cases=500)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "work (passes over the training cases)", "training time (s)", "distinct cases touched (passes)",
    ]  # fmt: skip
    assert "nothing to show" not in words(figure)


def test_seeds_are_listed_where_their_numbers_differ():
    figure = drawn(convergence, {("hf", 0): falling(0), ("b", 0): falling(0), ("b", 1): falling(1)})
    assert [text.get_text().replace("\xa0", " ") for text in figure.legends[0].get_texts()] == [
        "hf (n = 1)", "b (n = 2)",
    ]  # fmt: skip


def test_a_method_without_a_curve_is_named():
    figure = drawn(convergence, {("hf", 0): falling(0), ("broken", 0): curve([0.0], [9.0])})
    assert "Without a curve: broken." in words(figure)


def test_an_unknown_column_is_an_error():
    with pytest.raises(ConfigError, match="must have the column 'distinct'; it has work, seconds, test_error"):
        drawn(convergence, {("hf", 0): falling(0)}, x=("work", "distinct"))


# ---------------------------------------------------------------- what is left out


def test_a_cost_that_all_spend_in_their_first_step_has_no_panel():
    whole = {("hf", s): trace(distinct_cases=np.where(np.arange(13.0) > 0, 500, 0)) for s in range(3)}
    figure = drawn(four_costs, whole, cases=500)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "work (passes over the training cases)", "Gauss-Newton products", "training time (s)",
    ]  # fmt: skip
    assert "No panel for distinct cases touched (passes): all are spent in the first step." in words(figure)
    growing = {("shf", s): trace() for s in range(3)}
    assert len(drawn(four_costs, whole | growing, cases=500).axes) == 4


def test_a_target_far_below_the_curves_is_named_and_does_not_squash_them():
    traces = {("hf", s): falling(s) for s in range(3)}
    for target, in_view in ((5.0, True), (0.001, False)):
        figure = drawn(convergence, traces, x="work", target=target)
        (axes,) = figure.axes
        assert (axes.get_ylim()[0] < target) == in_view
        assert (f"↓ target {target:g}, below this axis" in words(figure)) == (not in_view)
        assert ("Ticks on the target line" in words(figure)) == in_view
        drop = np.diff(axes.transData.transform([(1, 7.3), (1, 72.0)])[:, 1]) / axes.bbox.height
        assert drop > 0.5


def test_the_last_drop_to_the_marker_is_drawn_through():
    (axes,) = drawn(convergence, {("hf", 0): curve([1, 5, 10], [9.0, 8.0, 2.0])}, x="work").axes
    ends = [segment for found in axes.collections[1:] for segment in found.get_segments()]
    assert any(sorted(segment[:, 1]) == [2.0, 8.0] for segment in ends)
