"""`hfbench compare`: what is missing, what was made otherwise and what was added since."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.tiny_study import (
    FACTORIAL,
    compare_quietly,
    mlflow_runs,
    run_quietly,
    specs,
    tiny,
    uses_mlflow,
)

from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.errors import StoreError
from hfbench.records.files import read_json, write_json
from hfbench.records.judgements import FILE
from hfbench.tracking.mlflow_store import local_uri
from hfbench.tracking.study_page import ANSWER

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


BASELINE = """
[methods.adam]
optimizer = "adam"
scheduler = { use = "fixed", gradient = 0.5, curvature = 0.5 }
"""


def folder_of(results: Path) -> Path:
    return results / "studies" / "tiny"


def written(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def parent_of(study: Study, results: Path) -> Any:
    """The study's run in MLflow."""
    (parent,) = [run for run in logged(study, results) if "run_key" not in run.data.tags]
    return parent


def logged(study: Study, results: Path) -> list[Any]:
    return mlflow_runs(results, study.name)


def experiment_of(results: Path) -> Any:
    """The study's experiment in MLflow."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=local_uri(results)).get_experiment_by_name("tiny")


def remove(study: Study, results: Path, *runs: tuple[str, int]) -> None:
    for run in runs:
        shutil.rmtree(results / "runs" / specs(study)[run].key())


@pytest.mark.usefixtures("undrawn")
def test_missing_runs_are_named_and_what_exists_is_paired(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.seeds=5")
    run_quietly(study, results)
    remove(study, results, ("shf", 1), ("shf", 2), ("shf", 4), ("hf", 0))
    status, screen = compare_quietly(study, results, "--set", "study.seeds=5")
    assert status == 0
    command = f"hfbench run {study.source} --set study.seeds=5 --results {results}"
    assert f"4 of 10 runs are not recorded; `{command}` runs them:" in screen
    assert "  hf on tiny-curves: seed 0\n  shf on tiny-curves: seeds 1-2, 4\n" in screen
    comparison = (read_json(folder_of(results) / "comparisons.json") or {})["comparisons"][0]
    assert (comparison["n"], comparison["missing"]) == (1, 4)
    page = (folder_of(results) / "report.html").read_text()
    assert "4 of 10 runs are not recorded" in page
    assert "4 seeds recorded for only one of the two left out." in page
    assert parent_of(study, results).info.status == "KILLED"

    assert run_quietly(study, results)[0] == 0
    assert "runs are not recorded" not in (folder_of(results) / "report.html").read_text()
    assert parent_of(study, results).info.status == "FINISHED"


@pytest.mark.usefixtures("undrawn")
def test_a_method_without_any_run_keeps_its_place_in_the_family(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.seeds=1", extra=BASELINE + FACTORIAL)
    run_quietly(study, results)
    remove(study, results, ("shf", 0))
    _, screen = compare_quietly(study, results)
    words = " ".join(screen.split())
    assert "no seed was run for both shf and hf: inconclusive (n too small)" in words
    assert "no seed was run in all 8 cells" in words
    comparisons = (read_json(folder_of(results) / "comparisons.json") or {})["comparisons"]
    assert {one["family"] for one in comparisons} == {8}


@pytest.mark.usefixtures("undrawn")
def test_adding_a_seed_extends_a_study(results: Path, tmp_path: Path) -> None:
    one, two = tiny(tmp_path, "study.seeds=1"), tiny(tmp_path, "study.seeds=2")
    run_quietly(one, results)
    before = written(results / "runs")
    assert "2 of 4 runs are recorded" in compare_quietly(two, results)[1]
    run_quietly(two, results)
    assert before.items() <= written(results / "runs").items()
    assert len(pd.read_parquet(folder_of(results) / "runs.parquet")) == 4
    screen = compare_quietly(one, results)[1]
    assert "2 records of tasks, methods or seeds that are not asked for left out." in screen


def plant(results: Path, key: str, like: str, **changed: Any) -> None:
    """A record as of another version of the code: a copy under another key, `config.json` changed as said."""
    folder = shutil.copytree(results / "runs" / like, results / "runs" / key)
    write_json(folder / "config.json", {**json.loads((folder / "config.json").read_text()), **changed})


@pytest.mark.usefixtures("undrawn")
def test_records_made_otherwise_are_counted_and_left_out(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path)
    run_quietly(study, results)
    like = specs(study)["shf", 1].key()
    before = (folder_of(results) / "runs.parquet").read_bytes()
    plant(results, "0" * 16, like)
    plant(results, "1" * 16, like)
    plant(results, "2" * 16, like, target=1.0)
    (results / "runs" / "torn").mkdir()
    (results / "runs" / "torn" / "result.json").write_text("{")
    _, screen = compare_quietly(study, results)
    said = ("2 records of this study made by another version of the code left out.",
            "1 record of this study made with other settings or data left out.")  # fmt: skip
    assert all(sentence in screen for sentence in said)
    assert (folder_of(results) / "runs.parquet").read_bytes() == before
    assert all(sentence in (folder_of(results) / "report.md").read_text() for sentence in said)

    remove(study, results, *specs(study))
    written_before = written(results)
    with pytest.raises(StoreError, match="none of the 4 runs of tiny is recorded") as caught:
        compare_quietly(study, results)
    assert "2 records of this study made by another version" in str(caught.value)
    assert f"`hfbench run {study.source} --results {results}` runs them" in str(caught.value)
    assert written(results) == written_before


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_record_is_named_left_out_and_made_again(results: Path, tmp_path: Path) -> None:
    study = tiny(tmp_path)
    run_quietly(study, results)
    whole = pd.read_parquet(folder_of(results) / "runs.parquet")
    key = specs(study)["shf", 1].key()
    file = results / "runs" / key / "result.json"
    before = file.read_bytes()
    file.write_bytes(before.replace(b'"seed": 1', b'"seed": 7'))

    _, screen = compare_quietly(study, results)
    line = (
        f"shf/tiny-curves/s1 is set aside: runs/{key}: result.json must have the sha256 that manifest.json lists, but "
        "has another. The same command of `hfbench run` makes it again."
    )
    assert line in screen
    assert f"1 of 4 runs are not recorded; `hfbench run {study.source} --results {results}` runs them:" in screen
    assert line in (folder_of(results) / "report.md").read_text().replace("\\", "")
    left = pd.read_parquet(folder_of(results) / "runs.parquet")
    pd.testing.assert_frame_equal(left, whole[whole["key"] != key].reset_index(drop=True))
    assert file.exists()  # to be looked at

    status, screen = run_quietly(study, results)
    assert status == 0
    assert f"shf/tiny-curves/s1 is set aside in {results / 'set-aside' / key}-1: runs/{key}: result.json" in screen
    assert b'"seed": 7' in (results / "set-aside" / f"{key}-1" / "result.json").read_bytes()
    made = json.loads(file.read_text())
    measured = ("peak_memory", "seconds", "seconds_to_target", "versions")
    same = {name: value for name, value in json.loads(before).items() if name not in measured}
    assert same.items() <= made.items()
    assert "set aside" not in run_quietly(study, results)[1]


# ---------------------------------------------------------------- variants of a study


@pytest.mark.usefixtures("undrawn")
def test_no_lesser_report_replaces_that_of_the_whole_study(results: Path, tmp_path: Path) -> None:
    file = tiny(tmp_path, extra=BASELINE).source
    copy = shutil.copy(file, Path(file).with_name("copy.toml"))
    run_quietly(load_study(file), results)
    _, screen = run_quietly(load_study(file, seeds="3"), results, options=["--seeds", "3"])
    assert "seeds    0-2, by --seeds; the file has 0-1" in screen

    _, screen = compare_quietly(load_study(file), results)
    assert "9 of 9 runs are recorded; nothing is run\nseeds 0-2, by an earlier --seeds; the file has 0-1\n" in screen
    assert "seeds    0-2, by an earlier --seeds; the file has 0-1" in screen
    whole = {name: text for name, text in written(folder_of(results)).items() if name != FILE}
    assert b"Seeds: 0-2, by an earlier --seeds; the file has 0-1." in whole["report.html"]
    assert b"hfbench run tiny.toml --seeds 3" in whole["report.html"]
    answer = experiment_of(results).tags[ANSWER]

    variants = {
        "--seeds 1": (load_study(file, seeds="1"), "seeds-1"),
        "--only adam": (load_study(file, only=["adam"]), "only-adam"),
        "--set study.margin=1.3": (load_study(file, ["study.margin=1.3"]), None),
        "the file copy.toml": (load_study(str(copy)), None),
    }
    for words, (study, name) in variants.items():
        _, screen = compare_quietly(study, results)
        (folder,) = re.findall(r"^report   (.*)/report.html$", screen, re.MULTILINE)
        assert Path(folder).parent == folder_of(results) / "variants"
        assert name is None or Path(folder).name == name
        said = f"variant {words}: this report has a folder of its own, that of the whole study is"
        assert said in " ".join(screen.split())
        assert f"against hf · {words.split()[0]}" in " ".join(screen.split())
        said = re.sub(r"\\(?=[\W_])", "", Path(folder, "report.md").read_text())
        assert said.startswith(f"# tiny ({words})\n")
        assert f"A variant of the study: {words}." in said
        assert (read_json(Path(folder) / "comparisons.json") or {})["variant"] == words
        now = {name: text for name, text in written(folder_of(results)).items() if name in whole}
        assert now == whole
        assert experiment_of(results).tags[ANSWER] == answer
    _, screen = compare_quietly(load_study(file), results)
    assert "before" not in screen, "a part that was looked at later is no first verdict"
    assert len(pd.read_parquet(folder_of(results) / "runs.parquet")) == 9


@pytest.mark.usefixtures("undrawn")
def test_until_the_whole_study_is_judged_its_folder_has_the_last_variant(results: Path, tmp_path: Path) -> None:
    file = tiny(tmp_path).source
    _, screen = run_quietly(load_study(file, seeds="1"), results)
    said = "variant --seeds 1: this report has a folder of its own, the whole study has none yet"
    assert said in " ".join(screen.split())
    assert max(map(len, re.findall(r"^variant .*\n .*", screen, re.MULTILINE)[0].splitlines())) <= 80
    for name in ("report.html", "comparisons.json", "runs.parquet"):
        assert (folder_of(results) / name).read_bytes() == (folder_of(results) / "variants/seeds-1" / name).read_bytes()
    assert experiment_of(results).tags[ANSWER].startswith("--seeds 1: ")
    run_quietly(load_study(file), results)
    assert "variant" not in (read_json(folder_of(results) / "comparisons.json") or {})
    assert not experiment_of(results).tags[ANSWER].startswith("--seeds")
    assert len(pd.read_parquet(folder_of(results) / "variants/seeds-1/runs.parquet")) == 2
