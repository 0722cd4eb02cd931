"""Peak memory: a bar to the median and a point for each seed."""

import pandas as pd
from support.drawn_figures import drawn, words
from support.result_tables import runs

from hfbench.figures import memory


def test_memory_is_a_bar_to_the_median_and_a_point_per_seed():
    records = runs({"hf": dict.fromkeys(range(3), 1.0), "b": dict.fromkeys(range(3), 1.0)})
    records["peak_memory"] = [m * 2**20 for m in (100, 200, 400, 300, 300, 600)]
    figure = drawn(memory, records, baseline="hf", methods=["hf", "b"])
    axes = figure.axes[0]
    assert [patch.get_width() for patch in axes.patches] == [200, 300]
    points = [line for line in axes.get_lines() if line.get_marker() in "os"]
    assert [sorted(line.get_xdata()) for line in points] == [[100, 200, 400], [300, 300, 600]]
    (above,) = axes.child_axes
    assert above.get_xlabel() == "ratio to hf"
    assert above._functions[0](300.0) == 1.5


def test_memory_without_a_baseline_has_one_axis():
    records = runs({"b": {0: 1.0}}).assign(peak_memory=5 * 2**20)
    assert drawn(memory, records, baseline="hf").axes[0].child_axes == []


def test_a_task_without_any_peak_has_no_panel():
    records = pd.concat([runs({"hf": {0: 1.0}}, task=task) for task in ("a", "b")])
    figure = drawn(memory, records.assign(peak_memory=[5 * 2**20, None]))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a"]
    assert "Nothing to show on b." in words(figure)
