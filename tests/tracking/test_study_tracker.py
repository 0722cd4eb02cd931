"""A study in MLflow, opened for the runs that it asks for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.tiny_study import (
    MISBEHAVING,
    compare_quietly,
    interrupt,
    mlflow_runs,
    run_quietly,
    specs,
    tiny,
    uses_mlflow,
)

from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.records.files import read_json
from hfbench.tracking.study_tracker import tracker_of
from hfbench.tracking.study_view import study_views

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


def parent_of(found: list[Any]) -> Any:
    (parent,) = [run for run in found if "run_key" not in run.data.tags]
    return parent


def shown(results: Path, study: Study) -> set[str]:
    """The runs that the study opens on in MLflow, by name and budget."""
    from mlflow.tracking import MlflowClient

    from hfbench.tracking.local_store import local_uri

    parent = parent_of(mlflow_runs(results)).info
    (view,) = study_views(parent.run_id, list(study.tasks), study.primary, study.target_on)
    found = MlflowClient(tracking_uri=local_uri(results)).search_runs([parent.experiment_id], view.filter)
    return {f"{run.info.run_name} {run.data.params['budget.iterations']}" for run in found}


def names(seeds: int, budget: int = 6) -> set[str]:
    return {f"{method}/tiny-curves/s{seed} {budget}" for method in ("hf", "shf") for seed in range(seeds)}


def test_every_judgement_is_one_of_the_same_parent_and_every_run_is_there_once(results: Path, tmp_path: Path) -> None:
    three, two, one = (tiny(tmp_path, f"study.seeds={n}") for n in (3, 2, 1))
    for study in (two, three):
        assert run_quietly(study, results)[0] == 0
    compare_quietly(one, results)
    found = mlflow_runs(results)
    assert len(found) == 1 + 6
    assert shown(results, one) == names(1)
    verdicts = {run.info.run_name: run.data.tags["verdict"] for run in found if "run_key" in run.data.tags}
    assert {name for name, verdict in verdicts.items() if verdict != "left out"} == {
        "hf/tiny-curves/s0",
        "shf/tiny-curves/s0",
    }
    parent = parent_of(found)
    assert parent.data.tags["settings/seeds"] == "0"
    judged = (read_json(results / "studies" / "tiny" / "judgements.json") or {})["judgements"]
    note = parent.data.tags["mlflow.note.content"]
    assert len([line for line in note.splitlines() if "| shf against hf on tiny-curves" in line]) == len(judged) == 3
    compare_quietly(three, results)
    assert shown(results, three) == names(3)
    assert len(mlflow_runs(results)) == 1 + 6


def test_another_budget_under_the_same_name_is_not_mixed_in(results: Path, tmp_path: Path) -> None:
    run_quietly(tiny(tmp_path, "study.seeds=1"), results)
    longer = tiny(tmp_path, "study.seeds=1", "study.budget.iterations=7")
    run_quietly(longer, results)
    assert len(mlflow_runs(results)) == 1 + 4
    assert shown(results, longer) == names(1, 7)


def test_a_run_whose_record_is_deleted_is_deleted(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path)
    run_quietly(study, results)
    shutil.rmtree(results / "runs" / specs(study)["shf", 1].key())
    compare_quietly(study, results)
    assert shown(results, study) == names(2) - {"shf/tiny-curves/s1 6"}
    assert len(mlflow_runs(results)) == 1 + 3
    run_quietly(study, results)
    assert shown(results, study) == names(2)
    assert len(mlflow_runs(results)) == 1 + 4


def test_records_of_an_archive_are_kept(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.seeds=1")
    run_quietly(study, results)
    (results / "archives").mkdir()
    shutil.move(
        results / "runs" / specs(study)["shf", 0].key(),
        results / "archives" / "tiny" / "runs" / specs(study)["shf", 0].key(),
    )
    compare_quietly(study, results)
    assert len(mlflow_runs(results)) == 1 + 2
    assert shown(results, study) == names(1) - {"shf/tiny-curves/s0 6"}


# ---------------------------------------------------------------- variants of a judged study


def all_of(run: Any) -> tuple[str, dict[str, str], dict[str, float]]:
    return run.info.status, run.data.tags, run.data.metrics


def tags_of_experiment(results: Path) -> dict[str, str]:
    from mlflow.tracking import MlflowClient

    from hfbench.tracking.local_store import local_uri

    return dict(MlflowClient(tracking_uri=local_uri(results)).get_experiment_by_name("tiny").tags)


VARIANTS: list[dict[str, Any]] = [
    {"seeds": "1-2"},
    {"only": ["shf"]},
    {"overrides": ["study.budget.iterations=3", "study.question='Another?'"]},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_variant_leaves_the_view_of_a_judged_study_as_it_is(
    results: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    study = tiny(tmp_path, extra=MISBEHAVING % ("third", "cg"))
    run_quietly(study, results)
    before, page = {run.info.run_id: all_of(run) for run in mlflow_runs(results)}, tags_of_experiment(results)
    variant = load_study(study.source, **options)
    assert run_quietly(variant, results)[0] == 0
    compare_quietly(variant, results)
    after = {run.info.run_id: all_of(run) for run in mlflow_runs(results)}
    assert {run: after[run] for run in before} == before
    assert {tags["in_study"] for run, (_, tags, _) in after.items() if run not in before} <= {"no"}
    assert tags_of_experiment(results) == page


def test_a_run_that_a_variant_makes_again_stays_in_the_study(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path)
    run_quietly(study, results)
    before = shown(results, study)
    (results / "runs" / specs(study)["shf", 1].key() / "trace.parquet").write_bytes(b"torn")
    run_quietly(load_study(study.source, seeds="1-2"), results)
    assert shown(results, study) == before
    children = {run.info.run_name: run.data.tags["verdict"] for run in mlflow_runs(results) if run.data.params}
    assert children["shf/tiny-curves/s1"] == children["shf/tiny-curves/s0"] != children["shf/tiny-curves/s2"]


def test_an_archive_of_a_study_that_was_judged_here_leaves_its_view_as_it_is(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.seeds=1")
    run_quietly(study, results)
    before = {run.info.run_id: all_of(run) for run in mlflow_runs(results)}
    planned = {f"of-another-version-{spec.seed}": spec for spec in specs(study).values()}
    tracker_of(load_study(study.source, ["study.margin=1.3"]), planned, results, archive="tiny-12345678")
    tracker_of(study, planned, results, archive="tiny-12345678")
    assert {run.info.run_id: all_of(run) for run in mlflow_runs(results)} == before


def test_a_variant_that_is_interrupted_leaves_the_state_of_the_study(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(tmp_path)
    run_quietly(study, results)
    interrupt(monkeypatch, call=3)
    assert run_quietly(load_study(study.source, seeds="1-2"), results)[0] == 130
    assert parent_of(mlflow_runs(results)).info.status == "FINISHED"
