"""What stands above a study's runs as it begins, is interrupted and is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny_study import compare_quietly, interrupt, run_quietly, specs, tiny, uses_mlflow

from hfbench.commands import run as run_module
from hfbench.config.study import Study
from hfbench.records.run_folder import RunFolder
from hfbench.report.mlflow_page import spaced
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.study_page import ANSWER, JUDGED, NOTE, QUESTION, STATUS, TASKS
from hfbench.tracking.study_view import KEY, TAG

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]

VERDICT = "shf and hf are undecided: "
SECOND = """
[tasks.other]
use = "curves-small"
layers = [12, 4]
cases = 200
validation = 50
"""


def tags_of(results: Path, study: Study) -> dict[str, str]:
    tracker = Tracker(results, study.name)
    return dict(tracker.client.get_experiment(tracker.experiment).tags)


def parent_in(tags: dict[str, str], study: Study, results: Path) -> bool:
    """Whether the view shows the runs of this study as it is, not those of another version."""
    from hfbench.tracking.study_tracker import tracker_of
    from hfbench.tracking.study_view import study_views

    parent = tracker_of(study, {spec.key(): spec for spec in specs(study).values()}, results).parent
    (view,) = study_views(parent, list(study.tasks), study.primary, study.target_on)
    return bool(json.loads(tags[TAG + KEY])["state"] == view.packed())


def test_columns_of_tables_stand_apart_and_nothing_else_changes() -> None:
    note = "a | b\n\n| method | ratio |\n| --- | ---: |\n| a\\|b | **0.5x** |"
    assert spaced(note) == note.replace("method |", "method&emsp; |").replace("a\\|b |", "a\\|b&emsp; |")


def test_a_study_has_its_page_from_its_beginning_and_the_verdict_at_its_end(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, begun = tiny(tmp_path), list[dict[str, str]]()
    carry_out = run_module._carry_out

    def looked(*of: object) -> None:
        begun.append(tags_of(results, study))
        carry_out(*of)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "_carry_out", looked)
    _, screen = run_quietly(study, results)
    (before,), tags = begun, tags_of(results, study)
    assert before[STATUS] == "Under way, 0 of 4 runs recorded"
    assert before[NOTE].startswith("Under way, 0 of 4 runs recorded; there is no verdict yet.")
    assert ANSWER not in before
    assert tags[STATUS] == JUDGED
    assert tags[ANSWER].startswith(VERDICT)
    assert tags[NOTE].startswith("**shf and hf are undecided**: ")
    assert "Does &lt;LSMR&gt; need less \\*work\\*?" in tags[NOTE]
    assert tags[QUESTION] == "Does <LSMR> need less *work*?"
    assert before[TAG + KEY] == tags[TAG + KEY]
    assert parent_in(tags, study, results)
    assert "page     http://127.0.0.1:5000/studies/tiny" in screen


def test_compare_keeps_it_current_and_repeats_nothing(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path)
    run_quietly(study, results)
    before = tags_of(results, study)
    compare_quietly(study, results)
    assert tags_of(results, study) == before
    lost = specs(study)["shf", 1]
    for file in sorted(RunFolder(results, lost.key()).path.iterdir()):
        file.unlink()
    compare_quietly(study, results)
    assert tags_of(results, study)[ANSWER].endswith("Of 4 runs, 1 not recorded.")
    wider = tiny(tmp_path, "study.margin=1.3")
    _, screen = compare_quietly(wider, results)
    assert parent_in(tags_of(results, wider), wider, results)
    assert "page     http://127.0.0.1:5000/studies/tiny" in screen


def test_an_interrupted_study_says_so_and_keeps_its_last_verdict(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(tmp_path)
    run_quietly(study, results)
    answer = tags_of(results, study)[ANSWER]
    more = tiny(tmp_path, "study.seeds=4")
    interrupt(monkeypatch, 1)
    assert run_quietly(more, results)[0] == 130
    tags = tags_of(results, study)
    assert tags[STATUS] == "Interrupted, 4 of 8 runs recorded"
    assert tags[ANSWER] == answer
    assert tags[NOTE].startswith("Interrupted, 4 of 8 runs recorded. The last verdict: shf and hf are undecided")
    assert parent_in(tags, more, results)


def test_several_tasks_are_linked(results: Path, tmp_path: Path) -> None:
    overrides = ("study.seeds=1", 'study.tasks=["tiny-curves", "other"]', "study.targets.other=60.0")
    study = tiny(tmp_path, *overrides, extra=SECOND)
    run_quietly(study, results)
    tags = tags_of(results, study)
    assert tags[TASKS].splitlines() == ["tiny-curves", "other"]
    assert {f"{TAG}{KEY}", f"{TAG}{KEY}-other"} <= tags.keys()
    last = tags[NOTE].splitlines()[-1]
    assert last.startswith("By task: [tiny-curves](#/experiments/1/runs?viewStateShareKey=hfbench&")
    assert "[other](#/experiments/1/runs?viewStateShareKey=hfbench-other&" in last


def test_a_store_that_takes_no_page_does_not_end_the_study(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfbench.report.mlflow_page.write_page", lambda *of: 1 / 0)
    status, screen = run_quietly(tiny(tmp_path), results)
    assert status == 0
    assert "not in MLflow yet; the same command logs it: ZeroDivisionError" in " ".join(screen.split())
