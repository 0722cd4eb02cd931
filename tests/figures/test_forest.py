"""Forest plots: intervals, arrows, the margin, and the words beside them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from support.drawn_figures import drawn, words
from support.result_tables import runs

from hfbench.figures import ForestRow, comparison_rows, comparisons_forest, effect_rows, forest
from hfbench.figures.style import COLOURS, INK
from hfbench.statistics.comparisons import compare

INF = math.inf


def shown(*rows, margin=1.1, **settings):
    (axes,) = drawn(forest, list(rows), margin=margin, **settings).axes
    return axes


def intervals(axes):
    return [
        tuple(line.get_xdata())
        for line in axes.get_lines()
        if line.get_linewidth() == 1.8 and line.get_marker() == "None"
    ]


def markers(axes, *kinds):
    return [line for line in axes.get_lines() if line.get_marker() in kinds]


@pytest.mark.parametrize("margin", [1.05, 1.1, 1.5])
def test_the_margin_is_shaded_from_its_inverse_to_itself(margin):
    axes = shown(ForestRow("a", 0.8, 0.8, 0.7, 0.9), margin=margin)
    (shade,) = axes.patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx((1 / margin, margin))
    assert axes.get_xscale() == "log"
    low, high = axes.get_xlim()
    assert low < 1 / margin
    assert high > margin


def test_intervals_and_ratios_stand_where_they_belong():
    axes = shown(ForestRow("a", 0.8, 0.8, 0.7, 0.9, "better"), ForestRow("b", 1.2, 1.2, 1.0, 1.6, "inconclusive"))
    assert intervals(axes) == [(0.7, 0.9), (1.0, 1.6)]
    points = markers(axes, "o")
    assert [point.get_xdata()[0] for point in points] == [0.8, 1.2]
    assert points[0].get_ydata()[0] > points[1].get_ydata()[0]
    assert [to_hex(point.get_markerfacecolor()) for point in points] == [INK, "#ffffff"]


@pytest.mark.parametrize(
    ("low", "high", "arrows"),
    [(0.7, INF, [">"]), (0.0, 0.9, ["<"]), (0.0, INF, ["<", ">"]), (0.5, 2.0, []), (1e-9, 1e9, ["<", ">"])],
)
def test_ends_off_the_axis_are_arrows_at_its_limits(low, high, arrows):
    axes = shown(ForestRow("a", 0.8, 0.8, low, high))
    found = markers(axes, "<", ">")
    assert [arrow.get_marker() for arrow in found] == arrows
    limits = dict(zip("<>", axes.get_xlim(), strict=True))
    assert all(arrow.get_xdata()[0] == limits[arrow.get_marker()] for arrow in found)
    ((start, end),) = intervals(axes)
    assert axes.get_xlim()[0] <= start < end <= axes.get_xlim()[1]


def test_a_ratio_nobody_knows_has_words_and_no_marker():
    axes = shown(
        ForestRow("a", math.nan, math.nan, 0.0, INF, "inconclusive (n too small)"), ForestRow("b", 1.0, 1.0, 0.9, 1.1)
    )
    assert len(markers(axes, "o")) == 1
    assert "no pair" in [text.get_text() for text in axes.texts]


def test_a_ratio_off_the_axis_is_not_drawn_at_its_edge():
    axes = shown(ForestRow("a", 500.0, 500.0, 300.0, 900.0, "clearly worse"))
    assert markers(axes, "o") == []
    assert [arrow.get_marker() for arrow in markers(axes, ">", "<")] == [">"]


def test_comparisons_are_grouped_by_task_in_their_methods_colours():
    costs = {
        "hf": dict.fromkeys(range(8), 100.0),
        "b": {s: 50.0 + s for s in range(8)},
        "c": dict.fromkeys(range(8), 99.0),
    }
    found = [c for task in ("usps", "mnist") for c in compare(runs(costs, task=task), "hf", methods=["hf", "b", "c"])]
    rows = comparison_rows(found)
    assert [(row.group, row.label, row.solved) for row in rows][:2] == [
        ("usps", "b", "8 vs 8 of 8"), ("usps", "c", "8 vs 8 of 8"),
    ]  # fmt: skip
    figure = drawn(comparisons_forest, found, methods=["hf", "b", "c"])
    (axes,) = figure.axes
    points = markers(axes, "o", "s", "^")
    assert [to_hex(point.get_color()) for point in points] == [COLOURS[1], COLOURS[2]] * 2
    np.testing.assert_allclose([point.get_xdata()[0] for point in points], [c.ratio for c in found])
    texts = [text.get_text() for text in axes.texts]
    assert texts.index("usps") < texts.index("mnist")
    assert f"{found[0].ratio:.2f} [{found[0].ci_low:.2f}, {found[0].ci_high:.2f}]" in texts
    assert [text for text in texts if text == found[0].verdict]
    assert "work to target (passes), ratio to hf" in words(figure)


def test_a_ratio_that_is_only_a_bound_wears_its_sign_and_a_bar():
    never = dict.fromkeys(range(8))
    records = runs({"hf": never, "lsmr": {seed: 40.0 + seed for seed in range(8)}}, tau=100.0)
    found = compare(records, "hf", budget={"usps": 100.0})
    (row,) = comparison_rows(found)
    assert (row.is_bound, row.ratio_low) == (True, 0.0)
    figure = drawn(comparisons_forest, found)
    assert any(text.get_text().startswith("≤0.4") for text in figure.axes[0].texts)
    assert "Bar: the ratio lies in it" in words(figure)
    ((start, end),) = [line.get_xdata() for line in figure.axes[0].get_lines() if line.get_linewidth() == 5]
    assert start == figure.axes[0].get_xlim()[0]
    assert end == pytest.approx(row.ratio_high)


def test_a_method_that_never_gets_there_has_an_infinite_ratio():
    never = runs({"hf": dict.fromkeys(range(3), 50.0), "bad": dict.fromkeys(range(3), "failed")})
    texts = [text.get_text() for text in drawn(comparisons_forest, compare(never, "hf")).axes[0].texts]
    assert {"∞ [∞, ∞]", "ratio [75 % CI]"} <= set(texts)


def test_a_ratio_between_bounds_has_a_marker_at_each():
    axes = shown(ForestRow("a", 0.7, 0.8, 0.5, 0.9, "better"))
    assert [point.get_xdata()[0] for point in markers(axes, "o")] == [0.7, 0.8]
    assert "0.70-0.80 [0.50, 0.90]" in [text.get_text() for text in axes.texts]


def test_effects_of_a_factorial_study_are_rows_too():
    effect = SimpleNamespace(
        task="usps", name="solver:scheduler", ratio_low=0.8, ratio_high=0.8, ci_low=0.6, ci_high=INF, ci_level=0.75,
        verdict="synergy",
    )  # fmt: skip
    (row,) = effect_rows([effect])
    assert row == ForestRow("solver × scheduler", 0.8, 0.8, 0.6, INF, "synergy", group="usps", level=0.75)


def test_an_interval_of_few_seeds_has_its_level_beside_it():
    hf, cost = dict.fromkeys(range(5), 100.0), {s: 98.0 + 3 * s for s in range(5)}
    few = comparison_rows(compare(runs({"hf": hf, "lsmr": cost}), "hf"))
    figure = drawn(forest, [*few, ForestRow("many", 0.7, 0.7, 0.6, 0.8, "better", "usps", level=0.95)], margin=1.1)
    assert "1.04 [0.98, 1.10] at 93.7 %" in [text.get_text() for text in figure.axes[0].texts]
    assert "it has that one, not 95 %" in " ".join(words(figure).split())
    assert "ratio [95 % CI]" in words(figure)
    usual = drawn(
        comparisons_forest, compare(runs({"hf": dict.fromkeys(range(6), 100.0), "lsmr": cost | {5: 99.0}}), "hf")
    )
    assert " at " not in words(usual).replace("Reached: runs at the target", "")


def test_words_do_not_overlap():
    """Names end left of the axis, and each column starts right of the one before."""
    row = ForestRow(
        "a_very_long_name_of_a_method_that_wraps_twice",
        0.8,
        0.8,
        0.7,
        0.9,
        "inconclusive (n too small)",
        "usps",
        "9 vs 9 of 9",
    )
    figure = drawn(forest, [row, row], margin=1.1, title="title")
    (axes,) = figure.axes
    frame = axes.get_window_extent()
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes.values())
    assert next(box for text, box in boxes.items() if text.startswith("a_very")).x1 < frame.x0
    columns = [boxes[text] for text in ("0.80 [0.70, 0.90]", "9 vs 9 of 9", "inconclusive (n too small)")]
    assert frame.x1 < columns[0].x0
    assert all(left.x1 < right.x0 for left, right in zip(columns, columns[1:], strict=False))


def test_the_head_names_the_level_that_all_intervals_have():
    hf, cost = dict.fromkeys(range(5), 100.0), {s: 98.0 + 3 * s for s in range(5)}
    said = words(drawn(comparisons_forest, compare(runs({"hf": hf, "lsmr": cost}), "hf")))
    assert "ratio [93.7 % CI]" in said
    assert "1.04 [0.98, 1.10]" in said
    assert " at 93.7 %" not in said
    assert "Where a level stands" not in said


def test_ticks_reach_to_where_the_intervals_end():
    figure = drawn(forest, [ForestRow("a", 0.83, 0.83, 0.69, 1.02, "inconclusive")], margin=1.1)
    assert min(figure.axes[0].get_xticks()) == 0.7
