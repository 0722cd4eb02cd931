"""Views of a study in MLflow's pages: which runs, columns and charts its experiment opens with, and at which address.

MLflow keeps a view that is shared as a tag of the experiment, `mlflow.sharedViewState.<key>`, and opens it where the
address asks for that key. The form is that of MLflow 3.17's "Save view"; its documentation does not describe it. What
an older or newer MLflow does not know it leaves out. hfbench writes keys of its own alone: views that people have saved
have others.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from hfbench.config.measures import AT_TARGET, MEASURES
from hfbench.records.trace import COLUMNS

KEY = "hfbench"  # of the view, and what the keys of the views of single tasks begin with
TAG = "mlflow.sharedViewState."
IN_STUDY = "in_study"  # tag of a run: whether the study, as it is now, asks for it ("yes") or not ("no")
ANSWER = "Who won"
OPEN = "open"  # id of the section of charts that is not shut
# Sections of further charts, shut until they are opened: MLflow sorts a chart by what stands before the slash.
SHUT = ("validation", "train", "opt", "cost", "summary", "stat")


@dataclass(frozen=True)
class View:
    """One view of the runs below a parent run.

    `charts` stand open in the first section; runs are averaged over those that share all params of `group_by`.
    """

    key: str
    name: str
    filter: str
    columns: Mapping[str, int]  # and their widths
    charts: Sequence[Mapping[str, Any]]
    group_by: Sequence[str] = ()
    task: str = ""  # whose runs alone it shows
    # MLflow shows the first hundred: the same seeds of every method. Ordered by time, parents would come too.
    order: str = "params.`seed`"
    title: str = ANSWER  # of the open section
    shut: Sequence[str] = SHUT

    def packed(self) -> str:
        """The state as MLflow's page unpacks it: a tag may have 20 000 characters."""
        state = json.dumps(self.state(), separators=(",", ":"), sort_keys=True)
        return "deflate;" + base64.b64encode(zlib.compress(state.encode(), 9)).decode()

    def tag(self, before: str, now: int) -> str:
        """The experiment's tag, which had the value `before`; that itself where it is this view already. `now` in ms.

        What stands in MLflow's menu of views is named, and knows when it was made and changed.
        """
        known, packed = _envelope(before), self.packed()
        if known.get("state") == packed and known.get("name") == self.name:
            return before
        made = {"name": self.name, "createdAt": known.get("createdAt", now), "updatedAt": now}
        return json.dumps({**made, "state": packed})

    def state(self) -> dict[str, Any]:
        """What MLflow's page reads; a key that is missing has MLflow's default."""
        charts = [{**chart, "uuid": f"{self.key}-{index}"} for index, chart in enumerate(self.charts)]
        grouping = [{"mode": "param", "groupByData": name} for name in self.group_by]
        return {
            "searchFilter": self.filter,
            "orderByKey": self.order,
            "orderByAsc": True,
            "selectedColumns": list(self.columns),
            "columnOrder": list(self.columns),
            "columnWidths": dict(self.columns),
            "runsHiddenMode": "SHOW_ALL",
            "compareRunCharts": charts,
            "compareRunSections": [
                _section(OPEN, self.title, True),
                *(_section(name, name, False) for name in self.shut),
            ],
            "isAccordionReordered": True,  # or sections are sorted by name
            "groupBy": {"aggregateFunction": "average", "groupByKeys": grouping} if grouping else None,
            "autoRefreshEnabled": True,
            "useGroupedValuesInCharts": True,
            "hideEmptyCharts": True,
        }


def study_views(parent: str, tasks: Sequence[str], primary: str, target_on: str = "test") -> list[View]:
    """The views of a study's runs: of several tasks one each, the first under the study's own key.

    A chart over several tasks would mix errors that do not compare. `parent` is the id of the study's run, `primary`
    the measure that is compared, `target_on` the cases whose error is held against the target.
    """
    below = _below(parent)
    error = "final_test_error" if target_on == "test" else AT_TARGET
    columns = {
        "metrics.`stat/ratio`": 100, f"metrics.`summary/{primary}`": 170, f"metrics.`summary/{error}`": 170,
        "tags.`verdict`": 150, "tags.`outcome`": 90, "params.`seed`": 80, "params.`task`": 140,
    }  # fmt: skip
    return _by_task(View(KEY, ANSWER, below, columns, _charts_of(primary, target_on), ("method",)), tasks)


def sweep_views(parent: str, tasks: Sequence[str], measures: Sequence[str], paths: Sequence[str]) -> list[View]:
    """The views of a sweep's trials, the best first: what each setting does; of several tasks one each."""
    names = ["metrics.`summary/ratio`", *(f"metrics.`summary/{measure}`" for measure in measures), "tags.`outcome`"]
    names += [*(f"params.`{name}`" for name in ("trial", *paths, "task"))]
    charts = [
        _chart("PARALLEL", selectedParams=list(paths), selectedMetrics=["summary/ratio"]),
        *(_chart("BAR", metricKey=name) for name in ("summary/ratio", *(f"summary/{measure}" for measure in measures))),
    ]
    one = View(
        key=KEY, name="Trials", title="Trials", filter=_below(parent),
        columns=dict.fromkeys(names, 150), charts=charts, order="metrics.`summary/ratio`", shut=("summary", *measures),
    )  # fmt: skip
    return _by_task(one, tasks)


def _below(parent: str) -> str:
    """The runs that the study is about: those of earlier settings, budgets or seeds are below the parent too."""
    return f"tags.`mlflow.parentRunId` = '{parent}' and tags.{IN_STUDY} = 'yes'"


def _by_task(one: View, tasks: Sequence[str]) -> list[View]:
    """The view itself, or of several tasks one each."""
    if len(tasks) == 1:
        return [one]
    return [
        replace(
            one, key=task_key(task, tasks), name=f"{one.name} on {task}", task=task,
            filter=f"{one.filter} and params.task = '{task}'",
        )
        for task in tasks
    ]  # fmt: skip


def _envelope(tag: str) -> dict[str, Any]:
    try:
        found = json.loads(tag)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def task_key(task: str, tasks: Sequence[str]) -> str:
    """The key of a task's view: the study's own for the first of several, for the only one, and for none of them."""
    return f"{KEY}-{task}" if task in tasks[1:] else KEY


def page_path(experiment: str, key: str = KEY) -> str:
    """The page of a view, as MLflow's server has it: what follows its address."""
    query = f"viewStateShareKey={quote(key)}&workflowType=machine_learning&compareRunsMode=CHART"
    return f"#/experiments/{quote(experiment)}/runs?{query}"


# ---------------------------------------------------------------- charts


def _charts_of(primary: str, target_on: str) -> list[dict[str, Any]]:
    """Error against what is compared and against time (or work), batch and lambda, and the cost to the target."""
    measure = MEASURES[primary]
    spent = COLUMNS[measure.column].metric if measure.column else "cost/work"
    other = "cost/work" if spent == "cost/seconds" else "cost/seconds"
    error = COLUMNS[f"{target_on}_error"].metric
    lines = ((error, spent), (error, other), ("cost/batch_gradient", spent), ("opt/damping", spent))
    return [*(_line(metric, x) for metric, x in lines), _chart("BAR", metricKey=f"summary/{primary}")]


def _line(metric: str, x: str) -> dict[str, Any]:
    axis = {"xAxisKey": "metric", "selectedXAxisMetricKey": x, "useGlobalXaxisKey": False, "xAxisScaleType": "linear"}
    return _chart("LINE", metricKey=metric, selectedMetricKeys=[metric], scaleType="log", displayPoints=False, **axis)


def _chart(kind: str, **more: Any) -> dict[str, Any]:
    # Neither deleted nor generated: MLflow then makes no chart of its own of this metric, and leaves this one alone.
    common = {"runsCountToCompare": 20, "metricSectionId": OPEN, "deleted": False, "isGenerated": False}
    return {"type": kind, **common, **more}


def _section(uuid: str, name: str, shown: bool) -> dict[str, Any]:
    own = {"uuid": uuid, "name": name, "display": shown, "columns": 3, "cardHeight": 300}  # six charts on a screen
    return {**own, "isReordered": False, "deleted": False, "isGenerated": False}
