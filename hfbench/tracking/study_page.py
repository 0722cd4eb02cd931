"""Page of a study in MLflow: what stands above its runs, the views it opens with, and where to find it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hfbench.tracking.local_store import is_behind_server, mlflow_errors, tracking_uri
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.study_runs import all_pages
from hfbench.tracking.study_view import KEY, TAG, View, page_path

NOTE = "mlflow.note.content"  # of an experiment: Markdown above its runs
WRITTEN = "hfbench.note"  # checksum of the note that hfbench wrote
QUESTION, ANSWER, STATUS, TASKS, CHANGED = (
    f"hfbench.{name}" for name in ("question", "answer", "status", "tasks", "changed")
)
JUDGED = "Judged"  # status of a study that has a verdict on what it asked for
LOCAL = "http://127.0.0.1:5000"  # of `hfbench ui`, where no other port is asked for
LONGEST = 20_000  # characters of an experiment's tag


@dataclass(frozen=True)
class StudyEntry:
    """A study as its experiment's tags have it: texts of others, which mean no markup."""

    name: str
    experiment: str
    question: str
    answer: str  # of the last judgement; empty where there was none
    status: str  # JUDGED, or that it is under way, or how it ended; empty where it is older than such pages
    changed: float  # seconds since 1970
    tasks: tuple[str, ...]  # where there are several, each with a view of its own
    has_view: bool


def write_page(tracker: Tracker, views: Sequence[View], note: str, about: Mapping[str, str]) -> None:
    """Writes the views, the note and the tags `about` the study; what is there already is not written again.

    Views under other keys than hfbench's, and a note that somebody else wrote, stay as they are. MLflow's experiments
    list then opens the study among trained models too, not among traces.
    """
    there = dict(tracker.client.get_experiment(tracker.experiment).tags)
    now = time.time()
    wanted = {TAG + view.key: view.tag(there.get(TAG + view.key, ""), int(1000 * now)) for view in views}
    wanted |= {name: text[:LONGEST] for name, text in about.items()}
    wanted |= {"mlflow.experimentKind": "custom_model_development"}
    if not there.get(NOTE) or there.get(WRITTEN) == _checksum(there[NOTE]):
        wanted |= {NOTE: note[:LONGEST], WRITTEN: _checksum(note[:LONGEST])}
    changed = {name: value for name, value in wanted.items() if there.get(name) != value}
    if changed:
        changed[CHANGED] = f"{now:.0f}"
    for name, value in changed.items():
        _set_tag(tracker, name, value)
    for name in there:
        if _is_own(name) and name not in wanted:  # of a task that the study no longer has
            _delete_tag(tracker, name)


def _set_tag(tracker: Tracker, name: str, value: str) -> None:
    """Sets a tag of the experiment, a second time if another process has made it at the same moment."""
    try:
        tracker.client.set_experiment_tag(tracker.experiment, name, value)
    except mlflow_errors():
        tracker.client.set_experiment_tag(tracker.experiment, name, value)


def _delete_tag(tracker: Tracker, name: str) -> None:
    try:
        tracker.client.delete_experiment_tag(tracker.experiment, name)
    except mlflow_errors():
        if name in tracker.client.get_experiment(tracker.experiment).tags:  # else another process was faster
            raise


def last_answer(tracker: Tracker) -> str:
    """What the last judgement came to, on whatever runs."""
    return str(tracker.client.get_experiment(tracker.experiment).tags.get(ANSWER, ""))


def page_address(tracker: Tracker) -> str:
    """Where the study opens on its answer: on the server that the store is behind, else on `hfbench ui`."""
    uri = tracking_uri(tracker.results)
    if is_behind_server(uri):
        return f"{uri.rstrip('/')}/{page_path(tracker.experiment)}"
    return f"{LOCAL}/studies/{quote(tracker.study)}"


def entries(client: Any) -> list[StudyEntry]:
    """The studies of a store, the one that changed last first, those without a page last; not others' experiments."""
    known = [
        _entry(experiment)
        for experiment in all_pages(client.search_experiments)
        if QUESTION in experiment.tags or _has_study(client, experiment)
    ]
    return sorted(known, key=lambda entry: (not entry.has_view, -entry.changed, entry.name))


def _entry(experiment: Any) -> StudyEntry:
    tags = experiment.tags
    changed = tags.get(CHANGED, "")
    return StudyEntry(
        name=experiment.name,
        experiment=str(experiment.experiment_id),
        question=tags.get(QUESTION, ""),
        answer=tags.get(ANSWER, ""),
        status=tags.get(STATUS, ""),
        changed=float(changed) if changed.isdecimal() else (experiment.last_update_time or 0) / 1000,
        tasks=tuple(tags.get(TASKS, "").splitlines()),
        has_view=TAG + KEY in tags,
    )


def _has_study(client: Any, experiment: Any) -> bool:
    """Whether it is a study of a version that wrote no page."""
    return bool(client.search_runs([experiment.experiment_id], "tags.study != ''", max_results=1))


def _is_own(tag: str) -> bool:
    return tag == TAG + KEY or tag.startswith(f"{TAG}{KEY}-")


def _checksum(note: str) -> str:
    return hashlib.sha256(note.encode()).hexdigest()[:16]
