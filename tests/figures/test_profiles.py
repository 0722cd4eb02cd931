"""Performance profiles, and shares of seeds at the target."""

import numpy as np
import pandas as pd
import pytest
from support.drawn_figures import drawn, lines, words
from support.result_tables import runs

from hfbench.figures import profile, reached
from hfbench.figures.profiles import cost_ratios, costs_to_target, spread
from hfbench.figures.style import COLOURS

BLUE, ORANGE = COLOURS[:2]
COSTS = {"hf": {0: 100.0, 1: 100.0, 2: None, 3: None}, "b": {0: 50.0, 1: 200.0, 2: 80.0, 3: None}}


def test_ratios_are_to_the_best_method_of_each_instance():
    found = cost_ratios(runs(COSTS), "work_to_target", ["hf", "b"])
    np.testing.assert_array_equal(found, [[2, 1], [1, 2], [np.inf, 1], [np.inf, np.inf]])


def test_an_instance_some_method_did_not_run_is_left_out_and_counted():
    records = runs({"hf": {0: 100.0, 1: 90.0}, "b": {0: 50.0}})
    assert cost_ratios(records, "work_to_target", ["hf", "b"]).shape == (1, 2)
    assert "1 instances (task, seed) from 1 task. 1 not run by every method left out." in words(drawn(profile, records))


def test_costs_beyond_the_budget_are_not_solved():
    np.testing.assert_array_equal(
        costs_to_target(runs({"hf": {0: 100.0, 1: 300.0}}), "work_to_target", 200.0), [100, np.inf]
    )
    found = cost_ratios(runs(COSTS), "work_to_target", ["hf", "b"], {"usps": 150.0})
    np.testing.assert_array_equal(found[1], [1, np.inf])


def test_a_profile_keeps_the_unsolved_in_the_denominator():
    figure = drawn(profile, runs(COSTS), methods=["hf", "b"])
    (axes,) = figure.axes
    ((x, y),) = lines(axes, BLUE)
    assert [(a, b) for a, b in zip(x, y, strict=True)][:3] == [(1, 0), (1, 0.25), (2, 0.5)]
    assert lines(axes, ORANGE)[0][1].max() == 0.75
    assert y[-1] == 0.5
    assert axes.get_xlim()[0] == 1.0
    assert axes.transScale.transform([(2, 0)])[0, 0] == pytest.approx(1.0)
    assert "4 instances (task, seed) from 1 task, 1 of them solved by no method." in words(figure)


def test_a_profile_is_a_step_function_that_never_falls():
    (axes,) = drawn(profile, runs(COSTS)).axes
    for line in axes.get_lines()[:1]:
        assert line.get_drawstyle() == "steps-post"
    for colour in (BLUE, ORANGE):
        for x, y in lines(axes, colour):
            assert (np.diff(x) >= 0).all()
            assert (np.diff(y) >= 0).all()


def test_the_share_at_the_target_rises_at_each_cost_to_the_budget():
    figure = drawn(reached, runs(COSTS), budget={"usps": 400.0}, methods=["hf", "b"])
    (axes,) = figure.axes
    ((x, y),) = lines(axes, ORANGE)
    np.testing.assert_array_equal(x[1:], [50, 80, 200, 400])
    np.testing.assert_array_equal(y, [0, 0.25, 0.5, 0.75, 0.75])
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.get_lines() if line.get_marker() in "os"]
    assert sorted(marks) == [(400.0, 0.5), (400.0, 0.75)]
    assert [text.get_text() for text in axes.texts] == ["2/4", "3/4"]


def test_a_method_all_of_whose_seeds_arrive_is_not_censored():
    (axes,) = drawn(reached, runs({"hf": {0: 5.0, 1: 9.0}}), budget={"usps": 20.0}).axes
    assert [line for line in axes.get_lines() if line.get_marker() == "o"] == []
    assert [text.get_text() for text in axes.texts] == ["2/2"]
    assert "Marker" not in words(axes.figure)
    cut_off = drawn(reached, runs({"hf": {0: 5.0, 1: None}}), budget={"usps": 20.0})
    assert "Marker: seeds still without the target" in words(cut_off)


def test_runs_that_failed_count_as_not_there():
    (axes,) = drawn(reached, runs({"hf": {0: 5.0, 1: "failed"}})).axes
    assert [text.get_text() for text in axes.texts] == ["1/2"]


def test_every_task_has_its_panel_and_budget():
    records = pd.concat([runs(COSTS, task=task, tau=tau) for task, tau in (("a", 300.0), ("b", 900.0))])
    first, second = drawn(reached, records).axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("a", "b")
    assert lines(first, BLUE)[0][0][-1] == 300.0
    assert lines(second, BLUE)[0][0][-1] == 900.0


def test_a_task_without_any_cost_has_no_panel():
    records = pd.concat([runs(COSTS, task="a"), runs({"hf": {0: "failed"}, "b": {0: "failed"}}, task="b")])
    figure = drawn(reached, records)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a"]
    assert "Nothing to show on b." in words(figure)


def test_numbers_beside_the_axis_are_spread():
    placed = spread([0.5, 0.5, 0.52, 0.0, 0.0], 0.1)
    assert min(np.diff(sorted(placed))) > 0.1 - 1e-12
    assert placed[2] == max(placed)
    assert min(placed) >= 0.0
    assert spread([1.0, 0.2], 0.1) == [1.0, 0.2]
