"""A study's page in a store: written once, kept current, and nothing of others touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from support.tiny_study import uses_mlflow

from hfbench.tracking.local_store import local_uri
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.study_page import (
    ANSWER,
    JUDGED,
    NOTE,
    QUESTION,
    STATUS,
    TASKS,
    entries,
    last_answer,
    page_address,
    write_page,
)
from hfbench.tracking.study_view import KEY, TAG, study_views

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]

ABOUT = {QUESTION: "Is it?", ANSWER: "lsmr won.", STATUS: JUDGED}


def tags_of(tracker: Tracker) -> dict[str, str]:
    return dict(tracker.client.get_experiment(tracker.experiment).tags)


def write(tracker: Tracker, note: str = "**lsmr won**.", tasks: Sequence[str] = ("usps",), **about: str) -> None:
    write_page(tracker, study_views(tracker.parent, tasks, "work_to_target"), note, {**ABOUT, **about})


def test_what_is_written_is_found_again(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    assert last_answer(tracker) == ""
    write(tracker, **{TASKS: "usps\nmnist"})
    assert last_answer(tracker) == "lsmr won."
    assert tags_of(tracker)[NOTE] == "**lsmr won**."
    (entry,) = entries(tracker.client)
    assert (entry.name, entry.question, entry.answer, entry.status) == ("tiny", "Is it?", "lsmr won.", JUDGED)
    assert (entry.tasks, entry.has_view, entry.experiment) == (("usps", "mnist"), True, tracker.experiment)
    assert entry.changed > 1e9


def test_a_tag_that_another_process_makes_or_deletes_at_the_same_moment(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(results, "tiny")
    write(tracker, tasks=("usps", "mnist"))
    set_tag, delete_tag = tracker.client.set_experiment_tag, tracker.client.delete_experiment_tag

    def beaten(*of: str) -> None:  # as two inserts into one database end: the other's is there, ours is refused
        if tags_of(tracker).get(of[1]) != "of the other":
            set_tag(of[0], of[1], "of the other")
            raise MlflowException("duplicate key value violates unique constraint")
        set_tag(*of)

    def deleted_twice(*of: str) -> None:
        delete_tag(*of)
        delete_tag(*of)

    monkeypatch.setattr(tracker.client, "set_experiment_tag", beaten)
    monkeypatch.setattr(tracker.client, "delete_experiment_tag", deleted_twice)
    write(tracker, "anew", **{ANSWER: "hf won."})
    tags = tags_of(tracker)
    assert (tags[NOTE], tags[ANSWER]) == ("anew", "hf won.")
    assert not [name for name in tags if name.startswith(f"{TAG}{KEY}-")]
    monkeypatch.setattr(tracker.client, "set_experiment_tag", lambda *of: delete_tag(tracker.experiment, "none"))
    with pytest.raises(MlflowException):
        write(tracker, "and again")


def test_the_same_page_is_not_written_again(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(results, "tiny")
    write(tracker)
    before = tags_of(tracker)
    with monkeypatch.context() as patch:
        patch.setattr(tracker.client, "set_experiment_tag", lambda *of: pytest.fail(f"written: {of}"))
        write(tracker)
    assert tags_of(tracker) == before


def test_a_new_judgement_replaces_the_view_the_note_and_the_answer(results: Path) -> None:
    write(Tracker(results, "tiny"))
    later = Tracker(results, "tiny")
    write(later, note="**hf won**.", **{ANSWER: "hf won."})
    tags = tags_of(later)
    assert (tags[NOTE], tags[ANSWER]) == ("**hf won**.", "hf won.")
    expected = study_views(later.parent, ["usps"], "work_to_target")[0].packed()
    assert json.loads(tags[TAG + KEY])["state"] == expected


def test_views_and_notes_of_people_stay_as_they_are(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    saved = {f"{TAG}5d41402a": '{"name": "mine", "createdAt": 1, "state": "{}"}', "team": "ours"}
    for name, value in saved.items():
        tracker.client.set_experiment_tag(tracker.experiment, name, value)
    write(tracker)
    tracker.client.set_experiment_tag(tracker.experiment, NOTE, "**lsmr won**. But see *my* notes.")
    write(tracker, note="**hf won**.", **{ANSWER: "hf won."})
    tags = tags_of(tracker)
    assert saved.items() <= tags.items()
    assert tags[NOTE] == "**lsmr won**. But see *my* notes."
    assert tags[ANSWER] == "hf won."
    tracker.client.set_experiment_tag(tracker.experiment, NOTE, "")  # given up
    write(tracker, note="**hf won**.")
    assert tags_of(tracker)[NOTE] == "**hf won**."


def test_views_of_tasks_that_are_gone_go(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    write(tracker, tasks=("usps", "mnist", "curves"))
    assert f"{TAG}{KEY}-curves" in tags_of(tracker)
    write(tracker, tasks=("usps", "mnist"))
    assert {name for name in tags_of(tracker) if name.startswith(TAG)} == {TAG + KEY, f"{TAG}{KEY}-mnist"}


def test_long_texts_are_cut_to_what_a_tag_holds(results: Path) -> None:
    tracker = Tracker(results, "tiny")
    write(tracker, note="n" * 30_000, **{QUESTION: "q" * 30_000})
    tags = tags_of(tracker)
    assert len(tags[NOTE]) == len(tags[QUESTION]) == 20_000
    write(tracker, note="short")
    assert tags_of(tracker)[NOTE] == "short"


def test_entries_are_studies_alone_the_newest_first(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for when, name in enumerate(("first", "second")):
        tracker = Tracker(results, name)
        monkeypatch.setattr("time.time", lambda when=when: 2e9 + when)
        write(tracker)
    Tracker(results, "of-an-earlier-version")
    tracker.client.create_experiment("of-somebody-else")
    found = entries(tracker.client)
    assert [entry.name for entry in found] == ["second", "first", "of-an-earlier-version"]
    assert [entry.has_view for entry in found] == [True, True, False]


def test_the_address_is_that_of_hfbench_ui_or_of_the_server(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(results, "tiny")
    assert page_address(tracker) == "http://127.0.0.1:5000/studies/tiny"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://runs.example:5000/")
    found: Any = page_address(tracker)
    assert found.startswith(
        f"http://runs.example:5000/#/experiments/{tracker.experiment}/runs?viewStateShareKey=hfbench&"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local_uri(results))
    assert page_address(tracker) == "http://127.0.0.1:5000/studies/tiny"
