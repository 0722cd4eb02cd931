"""The runs of a study in MLflow, found and put in order: one parent, and below it one run for each recorded run.

Earlier versions made a parent for every judgement, and logged each run below each of them. Two processes that begin at
the same moment on one server may both make a parent, or the same run. The oldest stays.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hfbench.tracking.local_runs import runs_made_by

PARENT = "hfbench.parent"  # tag of a parent: the command whose runs are below it
SETTLE = 1.0  # seconds until a server shows to all what two processes have made at the same moment


@dataclass(frozen=True)
class StudyInMlflow:
    """An experiment of a store, and the command that makes the runs which are meant."""

    client: Any
    experiment: str
    study: str
    by: str  # `hfbench run` or `hfbench sweep`
    own: Path | None  # the results folder whose store it is, None for one that other processes write to as well

    def in_order(self) -> tuple[str, dict[str, Any]]:
        """The id of the parent, which is made if there is none, and the runs below it by their keys."""
        parent, *others = self._parents()
        children: dict[str, list[Any]] = {}
        for child in self._runs():
            children.setdefault(child.data.tags["run_key"], []).append(child)
        kept = {key: self._keep_one(same, parent.info.run_id) for key, same in children.items()}
        for former in (*others, *self.search(f"tags.study_key != '' and {self._made_by}")):
            self.client.delete_run(former.info.run_id)  # last: a start that is killed goes on here
        return str(parent.info.run_id), kept

    @property
    def _made_by(self) -> str:
        return f"tags.`mlflow.source.name` = '{self.by}'"

    def _runs(self) -> list[Any]:
        """The runs below any parent. MLflow's client takes 2 ms for each, and the own store's tables a tenth of it."""
        if self.own is not None:
            with suppress(sqlite3.Error):
                return runs_made_by(self.own, self.experiment, self.by)
        return self.search(f"tags.run_key != '' and {self._made_by}")

    def search(self, filter_string: str) -> list[Any]:
        return all_pages(partial(self.client.search_runs, [self.experiment], filter_string))

    def _parents(self) -> list[Any]:
        """The parents, of which every process takes the first."""
        asked = f"tags.`{PARENT}` = '{self.by}'"
        found = self.search(asked)
        if not found:
            tags = {PARENT: self.by, "study": self.study, "mlflow.source.name": self.by}
            made = self.client.create_run(self.experiment, tags=tags, run_name=self.study)
            self.client.update_run(made.info.run_id, "SCHEDULED")  # until `Tracker.begin`
            found = self.search(asked)
        if self.own is None and max(run.info.start_time for run in found) > 1000 * (time.time() - SETTLE):
            time.sleep(SETTLE)
            found = self.search(asked)
        return sorted(found, key=_age)

    def _keep_one(self, same: Sequence[Any], parent: str) -> Any:
        """The one that is kept of several MLflow runs of the same run: one that has ended well, the oldest of them."""
        from mlflow.entities import RunTag

        kept, *others = sorted(same, key=lambda run: (run.info.status != "FINISHED", *_age(run)))
        for other in others:
            if not (self.own is None and other.info.status == "RUNNING"):  # another process may still write to that
                self.client.delete_run(other.info.run_id)
        if kept.data.tags.get("mlflow.parentRunId") != parent:
            self.client.log_batch(kept.info.run_id, tags=[RunTag("mlflow.parentRunId", parent)])
        return kept


def all_pages(search: Callable[..., Any]) -> list[Any]:
    """Everything that a search of MLflow finds, which gives a page at a time."""
    found: list[Any] = []
    token = None
    while True:
        page = search(max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _age(run: Any) -> tuple[int, str]:
    return run.info.start_time, run.info.run_id
