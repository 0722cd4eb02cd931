"""Views as MLflow's page reads them: what they show, that they fit a tag, and that the same view is the same tag."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest

from hfbench.config.measures import MEASURES
from hfbench.records.trace import COLUMNS
from hfbench.tracking.study_view import KEY, page_path, study_views, sweep_views, task_key

TASKS = ("usps", "mnist-class", "my_task")
METRICS = {column.metric for column in COLUMNS.values()}


def unpacked(tag: str) -> dict[str, Any]:
    """The state, as MLflow's page unpacks it."""
    kind, _, packed = json.loads(tag)["state"].partition(";")
    assert kind == "deflate"
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed, validate=True)))
    return state


def test_a_study_is_shown_by_method_with_the_columns_and_charts_that_matter() -> None:
    (view,) = study_views("abc", ["usps"], "work_to_target")
    state = unpacked(view.tag("", 7))
    assert state == view.state()
    assert state["searchFilter"] == "tags.`mlflow.parentRunId` = 'abc' and tags.in_study = 'yes'"
    assert state["orderByKey"] != "attributes.start_time"  # MLflow would then fetch the parent too
    assert state["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "method"}]
    assert [name.split("`")[1] for name in state["selectedColumns"]] == [
        *("stat/ratio", "summary/work_to_target", "summary/final_test_error"),
        *("verdict", "outcome", "seed", "task"),
    ]
    assert set(state["columnWidths"]) == set(state["columnOrder"]) == set(state["selectedColumns"])
    lines = [chart for chart in state["compareRunCharts"] if chart["type"] == "LINE"]
    assert [(chart["metricKey"], chart["selectedXAxisMetricKey"]) for chart in lines] == [
        *(("test/error", "cost/work"), ("test/error", "cost/seconds")),
        *(("cost/batch_gradient", "cost/work"), ("opt/damping", "cost/work")),
    ]
    (bar,) = (chart for chart in state["compareRunCharts"] if chart["type"] == "BAR")
    assert bar["metricKey"] == "summary/work_to_target"
    first, *others = state["compareRunSections"]
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == {first["uuid"]}
    assert (first["display"], {section["display"] for section in others}) == (True, {False})
    # A section that is not named here would stand open: MLflow makes one for the prefix of every metric.
    shown = {chart["metricKey"] for chart in state["compareRunCharts"]}
    assert {name.partition("/")[0] for name in METRICS - shown - {""}} < {section["name"] for section in others}


def test_where_targets_are_on_validation_its_error_is_drawn_and_the_test_error_at_the_target_listed() -> None:
    (view,) = study_views("abc", ["usps"], "work_to_target", "validation")
    assert "metrics.`summary/test_error_at_target`" in view.columns
    assert "metrics.`summary/final_test_error`" not in view.columns
    drawn = [chart["metricKey"] for chart in view.charts]
    assert drawn.count("validation/error") == 2
    assert "test/error" not in drawn


@pytest.mark.parametrize("primary", [name for name, measure in MEASURES.items() if measure.is_cost])
def test_errors_are_drawn_against_what_is_compared_and_something_else(primary: str) -> None:
    (view,) = study_views("abc", ["usps"], primary)
    axes = [chart["selectedXAxisMetricKey"] for chart in view.charts if chart["metricKey"] == "test/error"]
    assert axes[0] == COLUMNS[MEASURES[primary].column].metric
    assert len(set(axes)) == 2
    assert {*axes, *(chart["metricKey"] for chart in view.charts)} <= METRICS | {f"summary/{primary}"}


def test_several_tasks_have_a_view_each_and_the_study_opens_on_the_first() -> None:
    views = study_views("abc", TASKS, "work_to_target")
    assert [view.key for view in views] == [KEY, f"{KEY}-mnist-class", f"{KEY}-my_task"]
    assert [view.key for view in views] == [task_key(task, TASKS) for task in TASKS]
    assert [view.task for view in views] == list(TASKS)
    assert all(view.filter.endswith(f" and params.task = '{view.task}'") for view in views)
    assert task_key("", TASKS) == task_key("nothing", ()) == KEY


def test_a_tag_is_far_below_what_mlflow_takes() -> None:
    names = [f"{'a-very-long-name-' * 3}{i:02}" for i in range(60)]
    views = [*study_views("f" * 32, names, "distinct_to_target"), *sweep_views("f" * 32, names, list(MEASURES), names)]
    assert len(views) == 120
    assert max(len(view.tag("", 1_700_000_000_000)) for view in views) < 5_000


def test_the_same_view_is_the_same_tag_and_another_keeps_its_beginning() -> None:
    (view,) = study_views("abc", ["usps"], "work_to_target")
    first = view.tag("", 5)
    assert view.tag(first, 6) == first
    (other,) = study_views("def", ["usps"], "work_to_target")
    assert {name: json.loads(other.tag(first, 6))[name] for name in ("createdAt", "updatedAt")} == {
        "createdAt": 5,
        "updatedAt": 6,
    }
    for nonsense in ("deflate;xyz", "[1]", "{}", "null"):
        assert unpacked(view.tag(nonsense, 5)) == view.state()


def test_trials_are_shown_with_what_was_searched() -> None:
    (view,) = sweep_views("abc", ["usps"], ["work_to_target", "peak_memory"], ["rules.x.epsilon", "solver"])
    state = unpacked(view.tag("", 5))
    assert state["groupBy"] is None
    assert state["orderByKey"] == "metrics.`summary/ratio`"
    assert {"work_to_target", "peak_memory", "summary"} < {one["name"] for one in state["compareRunSections"]}
    parallel, *bars = state["compareRunCharts"]
    assert (parallel["selectedParams"], parallel["selectedMetrics"]) == (
        ["rules.x.epsilon", "solver"],
        ["summary/ratio"],
    )
    assert [bar["metricKey"] for bar in bars] == ["summary/ratio", "summary/work_to_target", "summary/peak_memory"]


def test_the_page_asks_for_the_view_and_the_half_for_trained_models() -> None:
    path = page_path("3", "hfbench-a&b")
    assert path.startswith("#/experiments/3/runs?viewStateShareKey=hfbench-a%26b&")
    assert "workflowType=machine_learning" in path
