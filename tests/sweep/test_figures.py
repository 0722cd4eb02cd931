"""The figures of a sweep, looked at as matplotlib objects."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from support.drawn_figures import drawn, words

from hfbench.parts.hyperparameters import Choice, Integers, Linear, Log
from hfbench.sweep.figures import (
    BLUE,
    ORANGE,
    best_so_far,
    carried,
    contour,
    history,
    importance,
    pairs_of,
    pareto,
    slices,
)
from hfbench.sweep.trial_rows import Point
from hfbench.sweep.trials import COMPLETE, PRUNED

PARAMETERS = {
    "scheduler.theta": Linear(0.1, 1.5),
    "scheduler.tolerance": Log(1e-4, 0.1),
    "rules.progress.k_min": Integers(1, 9),
    "solver.kind": Choice("a", "b"),
}


def point(index: int, *ratios: float, state: str = COMPLETE, allowed: bool = True) -> Point:
    draw = random.Random(index)
    params = {
        "scheduler.theta": draw.uniform(0.1, 1.5),
        "scheduler.tolerance": 10 ** draw.uniform(-4, -1),
        "rules.progress.k_min": draw.randint(1, 9),
        "solver.kind": draw.choice("ab"),
    }
    by_seed = {1000 + seed: ratios[0] * (0.9 + 0.1 * seed) for seed in range(3)}
    return Point(index, params, state, ratios, by_seed, allowed)


SHOWN = [point(0, 1.0), point(1, 2.0), point(2, 0.5, state=PRUNED), point(3, 0.4), point(4, 0.2, allowed=False)]
SHOWN += [point(5, 0.7), point(6, 0.3)]


def marked(axes: Any, marker: str) -> list[tuple[float, float]]:
    of = [line for line in axes.get_lines() if line.get_marker() == marker]
    return [(float(x), float(y)) for line in of for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def test_the_best_so_far_of_each_method_is_a_step_in_its_colour() -> None:
    curves = {"adam": [(10.0, 20.0), (30.0, 5.0)], "shf": [(40.0, 30.0)], "none": []}
    figure = drawn(best_so_far, curves, methods=["plain", "adam", "shf", "none"], measure="work", title="usps")
    (axes,) = figure.axes
    steps = [line for line in axes.get_lines() if len(line.get_xdata()) > 1]
    assert [(float(x), float(y)) for line in steps for x, y in zip(*line.get_data(), strict=True)] == curves["adam"]
    assert to_hex(steps[0].get_color()) == ORANGE
    assert all(said in words(figure) for said in ("adam", "shf", "none", "usps", "work, best so far"))


def test_the_history_shows_every_trial_and_the_best_that_is_complete_and_allowed_so_far() -> None:
    figure = drawn(history, SHOWN, measure="work", frozen=6, title="usps")
    (axes,) = figure.axes
    assert marked(axes, "o") == [(0, 1.0), (1, 2.0), (3, 0.4), (4, 0.2), (5, 0.7), (6, 0.3)]
    assert marked(axes, "x") == [(2, 0.5)]
    assert marked(axes, "*") == [(6, 0.3)]
    (best,) = (line for line in axes.get_lines() if line.get_drawstyle() == "steps-post")
    assert list(best.get_ydata()) == [1.0, 1.0, 0.4, 0.4, 0.3, 0.3]
    assert axes.get_yscale() == "log"
    for said in ("usps", "ended early", "frozen", "work, ratio"):
        assert said in words(figure)


def test_the_history_explains_its_lines_and_its_star_and_only_what_there_is() -> None:
    said = words(drawn(history, SHOWN, measure="work", frozen=6))
    for line in ("best so far", "untuned method", "Frozen is the best of those tested again on fresh seeds"):
        assert line in said
    near = [point(0, 1.0), point(1, 1.2), point(2, 0.9)]
    figure = drawn(history, near, measure="work", frozen=-1)
    assert figure.axes[0].get_yscale() == "log"
    assert "ended early" not in words(figure)
    assert "Frozen" not in words(figure)


@pytest.mark.parametrize("state", [COMPLETE, PRUNED])
def test_every_figure_is_drawn_where_no_trial_can_be_chosen(state: str) -> None:
    none = [point(index, 1.0 + index, 2.0, state=state, allowed=state == PRUNED) for index in range(4)]
    figure = drawn(history, none, measure="work", frozen=0)
    assert "No trial is complete and keeps the constraint." in words(figure)
    assert "best so far" not in words(figure)
    assert not [line for line in figure.axes[0].get_lines() if line.get_drawstyle() == "steps-post"]
    assert len(drawn(slices, none, PARAMETERS, measure="work", frozen=0).axes) >= len(PARAMETERS)
    assert drawn(contour, none, PARAMETERS, [("scheduler.theta", "scheduler.tolerance")], measure="work", frozen=0).axes
    assert drawn(pareto, none, {}, measures=["work", "error"]).axes


def test_slices_show_each_setting_on_its_own_scale_with_every_seed_and_the_first_trial_dashed() -> None:
    figure = drawn(slices, SHOWN, PARAMETERS, measure="work", frozen=3)
    panels = {axes.get_xlabel().replace("\n", ""): axes for axes in figure.axes}
    assert list(panels) == ["theta", "tolerance", "k_min", "kind"]
    assert [axes.get_xscale() for axes in panels.values()] == ["linear", "log", "linear", "linear"]
    for axes in panels.values():
        assert len(marked(axes, ".")) == 3 * len(SHOWN)
    assert [text.get_text() for text in panels["kind"].get_xticklabels()] == ["a", "b"]
    first = SHOWN[0].params["scheduler.theta"]
    dashed = [line for line in panels["theta"].get_lines() if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [first]
    assert marked(panels["theta"], "*") == [(SHOWN[3].params["scheduler.theta"], 0.4)]


@pytest.mark.parametrize("pair", [("scheduler.theta", "scheduler.tolerance"), ("solver.kind", "rules.progress.k_min")])
def test_the_contour_is_low_where_the_trials_are(pair: tuple[str, str]) -> None:
    shown = [point(index, 0.1 if index % 2 else 10.0) for index in range(40)]
    for one in shown:  # cheap where the first setting is low
        low = one.params[pair[0]] in ("a",) or (isinstance(one.params[pair[0]], float) and one.params[pair[0]] < 0.8)
        shown[one.index] = Point(one.index, one.params, COMPLETE, (0.1 if low else 10.0,), {}, True)
    figure = drawn(contour, shown, PARAMETERS, [pair], measure="work", frozen=1)
    axes = figure.axes[0]
    heights = axes.collections[0].get_array().reshape(60, 60)
    assert heights[:, :10].mean() < 1 < heights[:, -10:].mean()
    assert np.isfinite(heights).all()
    assert len(marked(axes, "o")) == 39
    assert len(marked(axes, "*")) == 1
    assert "look at the dots first" in words(figure)


def test_importance_has_a_bar_for_each_setting_and_evaluator_and_says_what_it_is() -> None:
    shares = {"fANOVA": {"scheduler.theta": 0.7, "scheduler.growth": 0.3}, "PED-ANOVA": {"scheduler.theta": 0.4}}
    shares["PED-ANOVA"]["scheduler.growth"] = 0.6
    figure = drawn(importance, shares)
    bars = {to_hex(bar.get_facecolor()): [] for bar in figure.axes[0].patches}
    for bar in figure.axes[0].patches:
        bars[to_hex(bar.get_facecolor())].append(bar.get_width())
    assert bars == {BLUE: [0.7, 0.3], ORANGE: [0.4, 0.6]}
    assert "Exploratory" in words(figure)


def test_the_front_joins_what_no_other_trial_beats_and_arrows_show_where_it_came() -> None:
    shown = [point(0, 1.0, 1.0), point(1, 0.5, 1.2), point(2, 0.8, 0.9), point(3, 0.9, 0.95), point(4, 0.1, 0.1)]
    shown[4] = Point(4, shown[4].params, PRUNED, (0.1, 0.1), {}, True)  # not complete: not on the front
    figure = drawn(pareto, shown, {1: (0.6, 1.1), 3: (2.0, 2.0)}, measures=["work", "error"], title="usps")
    (axes,) = figure.axes
    (line,) = (line for line in axes.get_lines() if line.get_drawstyle() == "steps-post")
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [(0.5, 1.2), (0.8, 0.9)]
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    assert [(arrow.xy, (arrow.xyann)) for arrow in arrows] == [((0.6, 1.1), (0.5, 1.2))]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("work, ratio", "error, ratio")


def test_the_heat_map_has_a_row_where_settings_were_tuned_and_a_column_where_they_were_run() -> None:
    ratios = {
        "the method": {("a", "a"): (0.1, "≤0.10x", "clearly better"), ("a", "b"): (1.1, "1.10x", "inconclusive")},
        "its own": {("a", "b"): (3.0, "3.00x", "clearly worse")},
        "no side": {("a", "b"): (math.nan, "0.96-1.05x", "inconclusive")},
    }
    figure = drawn(carried, ratios, ["a"], ["a", "b"], measure="work")
    above, below, last = figure.axes[:3]
    assert [(text.get_text(), text.get_weight()) for text in above.texts] == [("≤0.10x", "bold"), ("1.10x", "normal")]
    assert [text.get_position() for text in above.texts] == [(0, 0), (1, 0)]
    assert [text.get_text() for text in below.texts] == ["3.00x"]
    assert [text.get_text() for text in last.texts] == ["0.96-\n1.05x"]
    assert last.images[0].get_array().mask.all()
    np.testing.assert_allclose(above.images[0].get_array(), [[0.1, 1.1]])
    assert below.images[0].get_array().mask.tolist() == [[True, False]]
    assert [len(axes.patches) for axes in (above, below)] == [1, 1]  # the frame of a's own
    assert above.images[0].norm(1.0) == pytest.approx(0.5)


def test_pairs_are_those_of_the_three_first() -> None:
    assert pairs_of(["a", "b", "c", "d"]) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs_of(["a", "b"]) == [("a", "b")]


def test_a_figure_is_saved_as_png_and_svg(tmp_path: Path) -> None:
    paths = history(SHOWN, tmp_path / "history", measure="work", frozen=6)
    assert sorted(path.suffix for path in paths) == [".png", ".svg"]
    assert all(path.stat().st_size > 1000 for path in paths)


def test_trials_that_are_all_alike_can_be_drawn() -> None:
    same = [point(index, 1.0) for index in range(4)]
    figures = [
        drawn(history, same, measure="work", frozen=0),
        drawn(contour, same, PARAMETERS, pairs_of(list(PARAMETERS)), measure="work", frozen=0),
    ]
    for figure in figures:
        low, high = figure.axes[0].get_ylim()
        assert math.isfinite(low)
        assert low < high
