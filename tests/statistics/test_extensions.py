"""Seeds added after a judgement: remembered, told apart from declared looks and fresh blocks."""

from pathlib import Path

import pytest
from support.tiny_study import compare_quietly, results_folder, run_quietly, tiny, uses_mlflow

from hfbench.records.files import read_json
from hfbench.records.judgements import Judged, Judgement
from hfbench.statistics.extensions import first_look

NAME = "shf against hf on tiny-curves"


def judged(*seeds: int, settings: str = "a", complete: bool = True, verdict: str = "better") -> Judged:
    return Judged(settings, seeds, complete, verdict)


def looked(*entries: Judged, looks: tuple[int, ...] = ()) -> list[Judgement]:
    return [Judgement("2026-01-01", looks, {NAME: entry}) for entry in entries]


def test_more_seeds_than_were_judged_first_are_an_extension():
    before = looked(judged(0, 1, verdict="inconclusive"), judged(0, 1, 2))
    found = first_look(NAME, judged(0, 1, 2, 3), before, ())
    assert found is not None
    assert (found.seeds, found.verdict) == ((0, 1), "inconclusive")


@pytest.mark.parametrize(
    ("before", "now", "looks"),
    [
        (looked(judged(0, 1, 2)), judged(0, 1, 2), ()),  # the same again
        (looked(judged(0, 1)), judged(5, 6, 7), ()),  # a fresh block
        (looked(judged(0, 1, settings="b")), judged(0, 1, 2), ()),  # another comparison
        (looked(judged(0, 1, complete=False)), judged(0, 1, 2), ()),  # before all planned seeds were there
        (looked(judged(0, 1), looks=(2, 3)), judged(0, 1, 2), (2, 3)),  # a declared look
        ([], judged(0, 1), ()),
    ],
)
def test_what_is_no_extension(before, now, looks):
    assert first_look(NAME, now, before, looks) is None


def test_looks_declared_after_the_first_judgement_do_not_cover_it():
    assert first_look(NAME, judged(0, 1, 2), looked(judged(0, 1)), (2, 3)) is not None


@pytest.mark.slow
@uses_mlflow
@pytest.mark.usefixtures("own_store", "undrawn")
def test_an_extension_is_told_in_table_report_and_tag(tmp_path: Path) -> None:
    results = results_folder(tmp_path / "results")
    file = tmp_path / "file"
    assert "xtended" not in run_quietly(tiny(file, "study.seeds=2"), results)[1]
    assert "xtended" not in compare_quietly(tiny(file, "study.seeds=2"), results)[1]
    _, screen = run_quietly(tiny(file, "study.seeds=3"), results)
    told = "Extended without having declared it: with 2 seeds the verdict was inconclusive (n too small)."
    assert told in " ".join(screen.split())
    folder = results / "studies" / "tiny"
    assert told in (folder / "report.md").read_text()
    kept = read_json(folder / "judgements.json") or {}
    assert [len(one["judged"][NAME]["seeds"]) for one in kept["judgements"]] == [2, 3]
    (row,) = (read_json(folder / "comparisons.json") or {})["comparisons"]
    assert (row["first_n"], row["first_verdict"]) == (2, "inconclusive (n too small)")

    from mlflow.tracking import MlflowClient

    from hfbench.tracking.mlflow_store import local_uri

    client = MlflowClient(tracking_uri=local_uri(results))
    (experiment,) = (one for one in client.search_experiments() if one.name == "tiny")
    parents = client.search_runs([experiment.experiment_id], "tags.study_key LIKE '%'")
    tags = [run.data.tags.get("not-at-target/tiny-curves/shf-vs-hf", "") for run in parents]
    assert any("extended undeclared, at first: shf inconclusive (n too small) with 2 seeds" in tag for tag in tags)
