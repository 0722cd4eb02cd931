"""Batches, reasons, inner iterations, damping and rho over outer iterations."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from support.drawn_figures import drawn, lines, trace, words

from hfbench.figures import batches, inner
from hfbench.figures.iterations import REASONS, reason_colours, reason_shares
from hfbench.figures.style import COLOURS

BLUE, ORANGE = COLOURS[:2]
GROWING = [None, "start", "keep", "variance", "variance+validation", "full"]


def fixed(steps=5):
    return trace(steps, batch_gradient=500.0, batch_curvature=125.0, batch_reason="fixed")


def test_batches_are_the_medians_of_the_seeds():
    sizes = [np.array([np.nan, 10, 10, 20, 40, 80]) * factor for factor in (1, 2, 3)]
    traces = {("dyn", s): trace(5, batch_gradient=size, batch_curvature=size / 2) for s, size in enumerate(sizes)}
    figure = drawn(batches, traces)
    gradient, curvature = figure.axes[:2]
    ((x, y),) = lines(gradient, BLUE)
    np.testing.assert_array_equal(x, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(y, [20, 20, 40, 80, 160])
    np.testing.assert_array_equal(lines(curvature, BLUE)[0][1], [10, 10, 20, 40, 80])
    assert gradient.get_ylim() == curvature.get_ylim()
    assert gradient.get_yscale() == "log"


def test_shares_of_reasons_count_all_seeds():
    shares = reason_shares([trace(5, batch_reason=GROWING), trace(2, batch_reason=[None, "start", "variance"])])
    np.testing.assert_allclose(shares["start"], [1, 0, 0, 0, 0])
    np.testing.assert_allclose(shares["variance"], [0, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(shares["full"], [0, 0, 0, 0, 0.5])
    np.testing.assert_allclose(sum(shares.values()), [1, 1, 0.5, 0.5, 0.5])


def test_a_strip_is_drawn_only_where_reasons_vary():
    traces = {("hf", 0): fixed(), ("dyn", 0): trace(5, batch_reason=GROWING)}
    figure = drawn(batches, traces)
    assert len(figure.axes) == 3
    assert figure.axes[2].get_title(loc="left") == "dyn"
    drawn_colours = [to_hex(patch.get_facecolor()) for patch in figure.axes[2].patches]
    assert drawn_colours == [REASONS[reason] for reason in ("start", "keep", "full", "variance", "variance+validation")]
    tops = np.max([patch.get_data().values for patch in figure.axes[2].patches], axis=0)
    np.testing.assert_allclose(tops, 1.0)
    assert "variance+validation" in words(figure)
    assert len(drawn(batches, {("hf", 0): fixed()}).axes) == 2


def test_reasons_keep_their_colours_and_new_ones_get_others():
    alone = reason_colours(["variance", "replayed"])
    assert alone["variance"] == REASONS["variance"]
    assert alone["replayed"] not in REASONS.values()
    assert list(reason_colours(["full", "keep"])) == ["keep", "full"]


def test_reasons_are_told_apart_by_lightness_and_are_no_methods_colours():
    def lightness(colour):
        return 0.2126 * int(colour[1:3], 16) + 0.7152 * int(colour[3:5], 16) + 0.0722 * int(colour[5:], 16)

    grown = sorted(lightness(REASONS[one]) for one in ("variance", "validation", "variance+validation"))
    assert min(np.diff(grown)) > 40
    assert not set(REASONS.values()) & set(COLOURS)


def test_inner_iterations_and_damping_are_medians():
    traces = {("hf", s): trace(5, inner_iterations=np.array([np.nan, 10, 12, 14, 30, 9]) + s) for s in range(3)}
    figure = drawn(inner, traces)
    np.testing.assert_array_equal(lines(figure.axes[0], BLUE)[0][1], [11, 13, 15, 31, 10])
    np.testing.assert_allclose(lines(figure.axes[1], BLUE)[0][1], 45 * 0.7 ** np.arange(1, 6))
    assert figure.axes[1].get_yscale() == "log"
    assert [axes.get_xlim() for axes in figure.axes] == [(0.5, 5.5)] * 3


def test_a_damping_of_zero_leaves_the_log_axis_to_the_others():
    figure = drawn(inner, {("hf", 0): trace(3, damping=[np.nan, 0.0, 1e-3, 1.0])})
    low, high = figure.axes[1].get_ylim()
    assert 0 < low < 1e-3
    assert high > 1.0
    assert "lambda = 0 lies below the axis" in words(figure)
    assert "lambda = 0" not in words(drawn(inner, {("hf", 0): trace(3)}))


def test_a_column_without_numbers_has_no_panel():
    figure = drawn(inner, {("hf", 0): trace(3, rho=np.nan)})
    assert [axes.get_ylabel() for axes in figure.axes] == ["inner iterations", "damping lambda"]
    assert figure.axes[-1].get_xlabel() == "outer iteration"
    assert "rho" not in words(figure)


def test_rho_is_clipped_and_marked():
    rho = [np.nan, 0.9, -np.inf, np.nan, -3.0, 5.0, 0.5]
    axes = drawn(inner, {("hf", 0): trace(6, rho=rho), ("b", 0): trace(6)}).axes[2]
    np.testing.assert_array_equal(lines(axes, BLUE)[0][1], [0.9, -1, np.nan, -1, 2, 0.5])
    marks = {
        line.get_marker(): line for line in axes.get_lines() if line.get_color() == BLUE and line.get_markersize() == 4
    }
    assert list(marks[7].get_xdata()) == [2, 4]
    assert list(marks["x"].get_xdata()) == [3]
    assert max(marks[7].get_ydata()) < -1
    assert axes.get_ylim()[0] < min(marks[7].get_ydata())


def test_one_seed_in_five_below_zero_does_not_spoil_the_quartiles():
    """Percentiles of −inf and finite numbers would be NaN."""
    traces = {("hf", s): trace(2, rho=[np.nan, 0.5, -np.inf if s < 2 else 0.5]) for s in range(5)}
    axes = drawn(inner, traces).axes[2]
    np.testing.assert_array_equal(lines(axes, BLUE)[0][1], [0.5, 0.5])


@pytest.mark.parametrize("draw", [batches, inner])
def test_a_method_without_damping_or_batches_is_left_out(draw):
    bare = dict.fromkeys(("batch_gradient", "batch_curvature", "damping", "rho", "inner_iterations"), np.nan)
    figure = drawn(draw, {("adam", 0): trace(3, **bare), ("hf", 0): trace(3)})
    assert all(lines(axes, BLUE) == [] for axes in figure.axes[:2])
    assert len(lines(figure.axes[0], ORANGE)) == 1
