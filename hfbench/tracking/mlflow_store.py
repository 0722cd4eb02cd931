"""MLflow as the record people browse: experiment = study, parent run = its verdict, children = runs.

Every recorded run is one MLflow run for ever, known by its key. A judgement changes tags and metrics of the study's
parent run, and marks the runs that it is about. Only the process that started the study writes. Runs are logged when
they have ended, from their folders, so that it can be repeated at any time without duplicating anything; of a long one,
the newest rows are logged while it runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hfbench.errors import StoreError
from hfbench.records.files import LARGEST_REPORT, file_bytes, safe_name
from hfbench.records.locks import store_lock
from hfbench.records.run_folder import RunFolder
from hfbench.tracking import local_runs, run_entries, run_metrics
from hfbench.tracking.local_runs import EndedRun, Entries
from hfbench.tracking.local_store import (
    check_artifacts,
    database_message,
    is_remote,
    local_uri,
    make_artifacts_folder,
    mlflow_client,
    mlflow_errors,
    prepare_store,
    tracking_uri,
)
from hfbench.tracking.run_entries import PARAM, RECORD, TAG
from hfbench.tracking.run_metrics import Child
from hfbench.tracking.study_runs import StudyInMlflow
from hfbench.tracking.study_view import IN_STUDY

NOTHING: Mapping[str, Any] = MappingProxyType({})
LEFT_OUT = "left out"  # verdict of a run that the study does not ask for
OPEN = "not judged yet"
JUDGEMENTS = "hfbench.judgements"  # tag of the parent: their number
# Tags of the parent that a later judgement may have no longer, by what they begin with.
JUDGED = ("verdict/", "not-at-target/", "claim/", "effect/")
SETTINGS = "settings/"


class Tracker:
    """Writes one study into an MLflow store."""

    def __init__(
        self,
        results: Path,
        study: str,
        settings: Mapping[str, Any] = NOTHING,
        by: str = "hfbench run",
        speaks: bool = True,
    ) -> None:
        """Opens the store that MLFLOW_TRACKING_URI names, or `<results>/mlflow.db`, and the study's parent run.

        The parent, of which there is one for each command `by` which runs are made, shows the present `settings`. A
        tracker that does not speak for the study, since it is that of a variant, only adds runs: it leaves the parent
        and the study's views as they are. Waits where another process makes the store. Raises StoreError if the store
        cannot be opened.
        """
        self.results, self.study, self.by, self.speaks = Path(results).absolute(), safe_name(study), by, speaks
        self.live: dict[str, Child] = {}  # by run key
        self.uri = tracking_uri(self.results)
        self.own = self.uri == local_uri(self.results)  # and nobody else writes this study to it
        # Two that make a new store at once would both fail; a server sees to that itself.
        with self._usable(), contextlib.nullcontext() if is_remote(self.uri) else store_lock(self.results):
            self.client = self._client()
            self.experiment = self._experiment()
            self.refresh()
            if self.own and self.client.get_run(self.parent).info.status == "RUNNING":
                self.close("KILLED")  # whoever began it was killed, or the study's lock would be taken
            if speaks:
                named = {name: name if name == "question" else f"{SETTINGS}{name}" for name in settings}
                self._set_tags({tag: settings[name] for name, tag in named.items()}, (SETTINGS,))

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except mlflow_errors() as error:
            raise StoreError(f"the MLflow store {self.uri} must be usable, but: {database_message(error)}.") from error

    def _client(self) -> Any:
        if self.own:
            prepare_store(self.results)
        return mlflow_client(self.uri)

    def _experiment(self) -> str:
        """The id of the study's experiment, a new one if there is none."""
        known = self.client.get_experiment_by_name(self.study)
        if known is None:
            place = None if is_remote(self.uri) else make_artifacts_folder(self.results, self.study)
            try:
                return str(self.client.create_experiment(self.study, artifact_location=place))
            except mlflow_errors():
                known = self.client.get_experiment_by_name(self.study)
                if known is None:  # else another process has made it just now
                    raise
        if self.own:  # new runs have their artifacts below
            check_artifacts(known.artifact_location, self.results)
        if known.lifecycle_stage == "deleted":
            self.client.restore_experiment(known.experiment_id)
        return str(known.experiment_id)

    # ------------------------------------------------------------ runs

    def _study_runs(self) -> StudyInMlflow:
        return StudyInMlflow(self.client, self.experiment, self.study, self.by, self.results if self.own else None)

    def refresh(self) -> None:
        """Reads the runs of the study, and mends what earlier versions or processes at the same moment made twice."""
        self.parent, self._children = self._study_runs().in_order()
        self._changed = False

    def logged(self) -> dict[str, Any]:
        """The children by run key, read anew."""
        self.refresh()
        return dict(self._children)

    def _known(self, key: str) -> Any:
        """The child of a run, None if there is none by now."""
        if key not in self._children:
            for child in self._study_runs().search(f"tags.run_key = '{key}'"):
                self._children[key] = child
        return self._children.get(key)

    def select(self, keys: Collection[str], recorded: Collection[str] | None = None) -> None:
        """The study, as it is now, is about the runs with these keys: all others leave its views.

        In the store of the results folder, what a killed process left under way is ended, and runs that are not
        `recorded` any more are deleted; MLflow can restore them.
        """
        if not self.speaks:
            return
        marks: dict[str, Entries] = {}
        with self._usable():
            for key, child in list(self._children.items()):
                run = child.info.run_id
                if self.own and recorded is not None and key not in recorded:
                    del self._children[key]
                    self.client.delete_run(run)
                    continue
                if key not in keys:
                    marks[run] = run_entries.judged_entries(child, LEFT_OUT, {}, "no")
                elif child.data.tags.get(IN_STUDY) != "yes":
                    marks[run] = Entries(tags={IN_STUDY: "yes", "verdict": OPEN})
                if self.own and child.info.status == "RUNNING":
                    self.client.set_terminated(run, "KILLED")
            self._mark(marks)

    def begin(self) -> None:
        """The parent is under way again, whatever an earlier invocation left it as."""
        if self.speaks:
            self.client.update_run(self.parent, "RUNNING")

    def log_row(self, key: str, params: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
        """A row of a run under way, as the newest point of a child that is RUNNING; whether it was new.

        A child that is FINISHED is left alone, any other is replaced.
        """
        child, new = self.live.get(key), NOTHING
        if child is None:
            known = self._known(key)
            if known is not None and known.info.status == "FINISHED":
                return False
            began = run_metrics.now() - int(1000 * row["seconds"])
            child, new = self._child(key, params, began, known), params
            self.live[key] = child
        if row["iteration"] <= child.last:
            return False
        now = run_metrics.now()
        self._log(child.run, new, run_metrics.row_metrics(row, now))
        child.rows.append((row["iteration"], row["seconds"], now))
        return True

    def log_run(self, folder: RunFolder, params: Mapping[str, Any]) -> str:
        """One ended run as a child. Returns the MLflow run's id.

        A child that `log_row` began is completed, a finished one of the same record left alone, any other replaced.
        """
        child, record = self.live.get(folder.key), _checksum(folder)
        known = self._known(folder.key) if child is None else None
        if known is not None and self._is_of(record, known):
            more = run_entries.missing_entries(known, params, record)
            self._log(known.info.run_id, more.params, tags=more.tags)
            return str(known.info.run_id)
        ended = run_metrics.ended_run(folder, child)
        if child is None:
            child = self._child(folder.key, params, ended.start, known)
        self._log(child.run, params, ended.entries.metrics, {**ended.entries.tags, RECORD: record})
        self._log_files(child.run, ended.files)
        self.client.set_terminated(child.run, ended.status, end_time=ended.end)
        self.live.pop(folder.key, None)
        return child.run

    def log_runs(self, runs: Mapping[RunFolder, Mapping[str, Any]]) -> None:
        """Ended runs with their params as `log_run` logs each, at once and all or none of them, in the own store alone.

        None of them is under way. What is there already is neither read nor written.
        """
        new, more, replaced = list[EndedRun](), dict[str, Entries](), list[Any]()
        for folder, params in runs.items():
            known, record = self._children.get(folder.key), _checksum(folder)
            if known is not None and self._is_of(record, known):
                more[known.info.run_id] = run_entries.missing_entries(known, params, record)
                continue
            ended, name = run_metrics.ended_run(folder, None), run_entries.run_name(params)
            labels = self._labels(folder.key, run_entries.grouping(params), known)
            tags = {**labels, "mlflow.runName": name, **ended.entries.tags, RECORD: record}
            entries = Entries(run_entries.cut(params, PARAM), run_entries.cut(tags, TAG), ended.entries.metrics)
            new.append(replace(ended, name=name, entries=entries))
            replaced += [(folder.key, known)] if known is not None else []
        for key, known in replaced:
            self.client.delete_run(known.info.run_id)
            del self._children[key]
        if new:
            self._changed = True
            local_runs.add_runs(self.results, self.study, self.experiment, new)
        self._mark(more)

    def _is_of(self, record: str, known: Any) -> bool:
        """Whether a child has all of this record; in a shared store, or of an earlier version, any of the same run."""
        status, logged = known.info.status, known.data.tags.get(RECORD)
        any_will_do = status == "FINISHED" and (logged is None or not self.own)
        return any_will_do or (status in ("FINISHED", "FAILED") and logged == record)

    def log_trial(
        self, key: str, name: str, params: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """A trial of a sweep as a child that has ended; one that is FINISHED is left alone, any other replaced."""
        known = self._known(key)
        if known is not None and known.info.status == "FINISHED":
            return
        run = self._new_child(key, name, tags, known)
        self._log(run, params, run_metrics.changed_metrics(metrics, {}, ""))
        self.client.set_terminated(run, "FINISHED")

    def _child(self, key: str, params: Mapping[str, Any], began: int, replaced: Any) -> Child:
        run = self._new_child(key, run_entries.run_name(params), run_entries.grouping(params), replaced, began)
        return Child.beginning(run, began)

    def _new_child(self, key: str, name: str, tags: Mapping[str, str], replaced: Any, began: int | None = None) -> str:
        """A new child; the one that it replaces is deleted."""
        self._changed = True
        self._children.pop(key, None)
        if replaced is not None:
            self.client.delete_run(replaced.info.run_id)
        labels = self._labels(key, tags, replaced)
        run = self.client.create_run(self.experiment, start_time=began, tags=labels, run_name=name)
        return str(run.info.run_id)

    def _labels(self, key: str, tags: Mapping[str, str], replaced: Any) -> dict[str, str]:
        """The tags of a new child."""
        labels = {**tags, **self._standing(replaced), "run_key": key, "study": self.study}
        return labels | {"mlflow.parentRunId": self.parent, "mlflow.source.name": self.by}

    def _standing(self, replaced: Any) -> dict[str, str]:
        """Tags that say whether the study is about a new child; one of a variant is what it replaces, or left out."""
        if self.speaks:
            return {IN_STUDY: "yes"}
        before = replaced.data.tags if replaced is not None else {IN_STUDY: "no", "verdict": LEFT_OUT}
        return {name: before[name] for name in (IN_STUDY, "verdict") if name in before}

    def abandon(self) -> None:
        """Children that `log_row` began and `log_run` did not end are KILLED."""
        while self.live:
            _, child = self.live.popitem()
            self.client.set_terminated(child.run, "KILLED")

    # ------------------------------------------------------------ judgements

    def judge(self, verdicts: Mapping[str, tuple[str, Mapping[str, float]]]) -> None:
        """What the comparison of each run's method came to on its task, by run key; all other runs are left out.

        The UI groups and sorts by it. What is there already is not repeated.
        """
        if self._changed or not self.own:  # what only this process writes is known, or has been read already
            self.refresh()
        others = [child for key, child in self._children.items() if key not in verdicts]
        self._mark({child.info.run_id: run_entries.judged_entries(child, LEFT_OUT, {}, "no") for child in others})
        if others and not self.own:  # who judges at the same moment may have left out ours
            self.refresh()
        children = ((child, verdicts[key]) for key, child in self._children.items() if key in verdicts)
        self._mark(
            {child.info.run_id: run_entries.judged_entries(child, *verdict, "yes") for child, verdict in children}
        )

    def _mark(self, marks: Mapping[str, Entries]) -> None:
        """Adds these entries to runs by their ids: at once where nobody else writes them, and the tables are known."""
        changed = {run: entries for run, entries in marks.items() if entries}
        self._changed |= bool(changed)
        if self.own and changed:
            with contextlib.suppress(sqlite3.Error):
                local_runs.add_entries(self.results, changed)
                return
        for run, entries in changed.items():
            self._log(run, entries.params, entries.metrics, entries.tags)

    def log_study(
        self,
        note: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Iterable[Path] = (),
        status: str = "FINISHED",
    ) -> None:
        """The parent's verdicts, its description (Markdown) and its files.

        What an earlier judgement came to goes, what is there already is not repeated. The step of a metric is the
        number of the judgement.
        """
        parent = self.client.get_run(self.parent)
        if self.own:
            check_artifacts(parent.info.artifact_uri, self.results)
        there = parent.data
        number = int(there.tags.get(JUDGEMENTS, 0)) + 1
        new = run_metrics.changed_metrics(metrics, there.metrics, "stat/", number)
        is_new = self._set_tags(tags, JUDGED) or new
        counted = {JUDGEMENTS: number} if is_new else {}
        self._log(self.parent, metrics=new, tags={"mlflow.note.content": note, **counted})
        for file in artifacts:
            held = file_bytes(file, LARGEST_REPORT, file.parent)
            self._log_files(self.parent, {} if held is None else {file.name: held})
        self.close(status)

    def _set_tags(self, wanted: Mapping[str, str], prefixes: tuple[str, ...]) -> bool:
        """The parent has these tags, and no others that begin with one of the prefixes; whether it had others."""
        there = self.client.get_run(self.parent).data.tags
        texts = run_entries.cut(wanted, TAG)
        new = {name: value for name, value in texts.items() if there.get(name) != value}
        gone = [name for name in there if name.startswith(prefixes) and name not in texts]
        self._log(self.parent, tags=new)
        for name in gone:
            try:
                self.client.delete_tag(self.parent, name)
            except mlflow_errors():
                if name in self.client.get_run(self.parent).data.tags:  # else another process was faster
                    raise
        return bool(new or gone)

    def close(self, status: str) -> None:
        """Ends the parent, as "FINISHED", "FAILED" or "KILLED"."""
        if self.speaks:
            self.client.set_terminated(self.parent, status)

    def _log_files(self, run: str, files: Mapping[str, bytes]) -> None:
        """Logs files with the contents that were read of them: MLflow would follow links, and wait for pipes."""
        with tempfile.TemporaryDirectory(prefix="hfbench-artifacts-") as folder:
            for name, held in files.items():
                file = Path(folder, name)
                file.write_bytes(held)
                self.client.log_artifact(run, str(file))  # one by one: each replaces what is there, link or not

    def _log(
        self,
        run: str,
        params: Mapping[str, Any] = NOTHING,
        metrics: Collection[Any] = (),
        tags: Mapping[str, Any] = NOTHING,
    ) -> None:
        """Logs what there is; MLflow's client divides it into calls of the size that a store takes."""
        from mlflow.entities import Param, RunTag

        entries = [Param(name, value) for name, value in run_entries.cut(params, PARAM).items()]
        labels = [RunTag(name, value) for name, value in run_entries.cut(tags, TAG).items()]
        if entries or labels or metrics:
            self.client.log_batch(run, params=entries, tags=labels, metrics=list(metrics))


def _checksum(folder: RunFolder) -> str:
    return hashlib.sha256(folder.read("result.json") or b"").hexdigest()[:16]
