"""Names, params, tags and metrics by which a run is known in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfbench.tracking import run_metrics
from hfbench.tracking.local_runs import Entries
from hfbench.tracking.study_view import IN_STUDY

PARAM, TAG = 6000, 8000  # characters
RECORD = "hfbench.record"  # tag of a run: the checksum of its result.json
# params by which the UI groups runs, as tags
TAGS = ("task", "seed", "method", "solver", "preconditioner", "scheduler", "optimizer")


def run_name(params: Mapping[str, Any]) -> str:
    return f"{params['method']}/{params['task']}/s{params['seed']}"


def grouping(params: Mapping[str, Any]) -> dict[str, str]:
    """The tags by which the UI groups runs."""
    return {name: str(params[name]) for name in TAGS if name in params}


def missing_entries(known: Any, params: Mapping[str, Any], record: str) -> Entries:
    """The params that later runs have and a child has not, and the checksum of its record."""
    missing = {name: value for name, value in params.items() if name not in known.data.params}
    return Entries(cut(missing, PARAM), {} if RECORD in known.data.tags else {RECORD: record})


def judged_entries(child: Any, verdict: str, numbers: Mapping[str, float], in_study: str) -> Entries:
    """What a judgement changes of a child."""
    wanted = {"verdict": verdict, IN_STUDY: in_study}
    tags = {name: value for name, value in wanted.items() if child.data.tags.get(name) != value}
    return Entries(tags=tags, metrics=run_metrics.changed_metrics(numbers, child.data.metrics, "stat/"))


def cut(texts: Mapping[str, Any], longest: int) -> dict[str, str]:
    """The texts, as long as MLflow stores them."""
    return {name: str(value)[:longest] for name, value in texts.items()}
