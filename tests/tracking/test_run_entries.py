from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.tiny_study import uses_mlflow

from hfbench.tracking.run_entries import PARAM, RECORD, cut, grouping, judged_entries, missing_entries, run_name

pytestmark = uses_mlflow

PARAMS = {"method": "hf", "task": "usps", "seed": 3, "solver": "cg", "rules": "work"}


def child(params: dict[str, str], tags: dict[str, str], metrics: dict[str, float] | None = None) -> Any:
    return SimpleNamespace(data=SimpleNamespace(params=params, tags=tags, metrics=metrics or {}))


def test_a_run_is_named_and_grouped_by_its_params() -> None:
    assert run_name(PARAMS) == "hf/usps/s3"
    assert grouping(PARAMS) == {"task": "usps", "seed": "3", "method": "hf", "solver": "cg"}


def test_only_what_a_run_has_not_is_added() -> None:
    added = missing_entries(child({"method": "hf"}, {}), PARAMS, "0123")
    assert added.params == {"task": "usps", "seed": "3", "solver": "cg", "rules": "work"}
    assert added.tags == {RECORD: "0123"}
    assert not missing_entries(child(dict.fromkeys(PARAMS, ""), {RECORD: "0123"}), PARAMS, "0123")


def test_only_what_a_judgement_changes_is_added() -> None:
    marked = child({}, {"verdict": "better", "in_study": "yes"}, {"stat/ratio": 0.9, "summary/work": 1.0})
    assert not judged_entries(marked, "better", {"stat/ratio": 0.9}, "yes")
    changed = judged_entries(marked, "worse", {"stat/p": 0.01}, "yes")
    assert changed.tags == {"verdict": "worse"}
    points = {point.key: point.value for point in changed.metrics}
    assert points == pytest.approx({"stat/ratio": float("nan"), "stat/p": 0.01}, nan_ok=True)


def test_texts_are_as_long_as_mlflow_stores_them() -> None:
    assert cut({"rules": "x" * (PARAM + 1), "seed": 3}, PARAM) == {"rules": "x" * PARAM, "seed": "3"}
