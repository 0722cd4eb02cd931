"""Weights from the study file to a model again: the test error is the recorded one; lost ones are said and made."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.blocks import DOCS, blocks
from support.tiny_study import (
    MISBEHAVING,
    Explodes,
    attempt,
    compare_quietly,
    results_folder,
    run_quietly,
    specs,
    tiny,
    uses_mlflow,
)

import hfbench
from hfbench import registry
from hfbench.commands.export import export_study
from hfbench.commands.import_records import import_study
from hfbench.config.load import load_study
from hfbench.config.to_toml import toml
from hfbench.errors import ConfigError, StoreError
from hfbench.execution.worker import _job_away
from hfbench.records.results_folder import ResultsFolder
from hfbench.records.run_folder import RunFolder
from hfbench.records.shorter_runs import ShorterRuns
from hfbench.records.weights import WEIGHTS
from hfbench.runs.build import build_task, load_data
from hfbench.runs.evaluation import mean_error

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]

KEPT = "study.keep_weights=true"
RIVAL = """
[methods.schedule-free]
optimizer = { use = "schedule-free", minibatch = 50 }
scheduler = { use = "fixed", gradient = 0.5, curvature = 0.5 }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study's file and results, with weights of every run."""
    folder = tmp_path_factory.mktemp("kept")
    study = tiny(folder, KEPT, extra=RIVAL)
    for spec in specs(study).values():
        attempt(spec, folder / "results", study="tiny", keep_weights=study.keep_weights)
    return folder / "tiny.toml", folder / "results"


def test_the_test_error_of_the_weights_is_the_recorded_one(made: tuple[Path, Path]) -> None:
    file, results = made
    study = hfbench.results(str(file), results)
    assert set(study.runs["method"]) == {"hf", "shf", "schedule-free"}
    for run in study.runs.to_dict("records"):
        spec = study.recorded.specs[str(run["key"])]
        test = load_data(spec).test
        assert mean_error(study.model(str(run["key"])), build_task(spec), test) == run["final_test_error"]
        assert list(study.weights(spec.name)) == list(study.model(spec.name).state_dict())


def test_the_lines_of_the_page_put_them_into_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = blocks((DOCS / "howto/weights.md").read_text("utf-8"))
    (tmp_path / "my-study.toml").write_text(page[0].text)
    study = load_study(str(tmp_path / "my-study.toml"))
    spec = specs(study)["hf", 0]
    recorded = attempt(spec, tmp_path / "results", study=study.name, keep_weights=study.keep_weights)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(next(block.text for block in page if block.kind == "python"), names)
    assert mean_error(names["model"], names["task"], load_data(spec).test) == recorded["final_test_error"]


def test_a_run_without_weights_and_an_unknown_one_are_said(made: tuple[Path, Path], tmp_path: Path) -> None:
    file, results = made
    shutil.copytree(results, tmp_path / "results")
    study = hfbench.results(str(file), tmp_path / "results")
    key = str(study.runs["key"][0])
    RunFolder(tmp_path / "results", key).weights_path.unlink()
    with pytest.raises(
        StoreError, match=r"the weights of hf/tiny-curves/s0 must be there, but the run was recorded wi"
    ):
        study.weights(key)
    with pytest.raises(StoreError, match=r"no run 'hf/tiny-curve/s0' in tiny \(did you mean 'hf/tiny-curves/s0'\?\)"):
        study.weights("hf/tiny-curve/s0")


def test_it_is_the_same_study_with_and_without_them(tmp_path: Path) -> None:
    without = tiny(tmp_path / "a")
    asked = load_study(str(tmp_path / "a" / "tiny.toml"), [KEPT])
    assert asked.keep_weights
    assert asked.variant == without.variant
    assert {spec.key() for spec in specs(asked).values()} == {spec.key() for spec in specs(without).values()}
    written = tmp_path / "again.toml"
    written.write_text(toml(asked, tmp_path))
    assert load_study(str(written)).keep_weights
    assert "keep_weights" not in toml(without, tmp_path)


def test_lost_weights_are_said_and_made_again_where_that_is_asked_for(tmp_path: Path) -> None:
    results, study = results_folder(tmp_path / "results"), tiny(tmp_path, "study.seeds=1")
    assert run_quietly(study, results)[0] == 0
    key = specs(study)["hf", 0].key()
    before = RunFolder(results, key).result() or {}
    with pytest.raises(ConfigError, match="keep_weights = true in"):
        run_quietly(study, results, make_weights=True)
    kept = tiny(tmp_path, "study.seeds=1", KEPT)
    for printed in (run_quietly(kept, results)[1], compare_quietly(kept, results)[1]):
        said = " ".join(printed.split())
        assert "2 of 2 runs have no weights" in said
        assert "--make-weights` makes these runs again" in said
    assert (RunFolder(results, key).result() or {}) == before
    status, printed = run_quietly(kept, results, make_weights=True)
    assert status == 0
    assert "2 runs without weights set aside" in printed
    assert "have no weights" not in printed
    assert len(list((results / "set-aside").iterdir())) == 2
    again = RunFolder(results, key)
    assert (again.result() or {})["final_test_error"] == before["final_test_error"]
    assert again.weights()
    assert "set aside" not in run_quietly(kept, results, make_weights=True)[1]


@pytest.mark.usefixtures("forgotten")
def test_a_run_that_diverged_has_none_and_none_is_missed(tmp_path: Path) -> None:
    registry.add("solver", "explodes", Explodes)
    results = results_folder(tmp_path / "results")
    study = tiny(tmp_path, "study.seeds=1", KEPT, extra=MISBEHAVING % ("boom", "explodes"))
    assert "have no weights" not in run_quietly(study, results)[1]
    ended = {name: RunFolder(results, spec.key()) for (name, _), spec in specs(study).items()}
    assert {name for name, folder in ended.items() if folder.has_weights()} == {"hf", "shf"}


def test_a_longer_run_has_weights_of_its_own_end(tmp_path: Path) -> None:
    """One goes on from the checkpoint, the other is the shorter one, which had reached its target."""
    for name, changes, same in (("budget", ["study.targets.tiny-curves=1.0"], False), ("reached", [], True)):
        results = tmp_path / name
        short = specs(tiny(tmp_path, "study.seeds=1", "study.budget.iterations=5", KEPT, *changes))["hf", 0]
        long = specs(tiny(tmp_path, "study.seeds=1", "study.budget.iterations=6", KEPT, *changes))["hf", 0]
        assert attempt(short, results, keep_weights=True)["outcome"] == name
        shorter = ShorterRuns(results).of(long)
        assert shorter is not None
        assert attempt(long, results, shorter=shorter, keep_weights=True)["outcome"] == name
        before, after = (RunFolder(results, spec.key()).weights() or {} for spec in (short, long))
        assert before.keys() == after.keys() != set()
        assert all(bool((before[weight] == after[weight]).all()) for weight in before) == same


def test_weights_come_back_from_another_machine(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.seeds=1", KEPT))["hf", 0]
    setting = ResultsFolder(tmp_path / "here", "tiny", keep_weights=True)
    result, contents = _job_away(spec.key(), spec, setting, [], {}, "")
    assert result["outcome"] == "reached"
    folder = setting.folder(spec.key())
    folder.put(contents)
    assert folder.weights()


def test_import_takes_them_and_an_archive_has_none_and_says_so(made: tuple[Path, Path], tmp_path: Path) -> None:
    file, source = made
    study = load_study(str(file))
    key = specs(study)["hf", 0].key()

    def imported(origin: Path, name: str) -> tuple[RunFolder, str]:
        screen = io.StringIO()
        console = Console(file=screen, width=200)
        import_study(study, [origin], results_folder(tmp_path / name), None, console)
        return RunFolder(tmp_path / name, key), screen.getvalue()

    folder, printed = imported(source, "all")
    assert folder.weights_path.read_bytes() == RunFolder(source, key).weights_path.read_bytes()
    screen = io.StringIO()
    export_study(study, source, None, Console(file=screen, width=200), tmp_path / "tiny.parquet")
    assert "The weights of 6 runs are left out: an archive has none." in screen.getvalue()
    folder, printed = imported(tmp_path / "tiny.parquet", "archived")
    assert not folder.has_weights()
    assert "6 of 6 runs have no weights" in printed
    shutil.copytree(source, tmp_path / "damaged")
    (tmp_path / "damaged" / "runs" / key / WEIGHTS).write_bytes(b"abc")
    folder, printed = imported(tmp_path / "damaged", "sound")
    assert not folder.path.exists()
    assert "hf/tiny-curves/s0 is left out" in printed
    assert "must have the sha256" in printed


@pytest.mark.parametrize("options", [["--plan"], ["--shard", "1/2"]])
@pytest.mark.parametrize("option", ["--latex", "--make-weights"])
def test_options_of_a_whole_run_are_refused_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, options: list[str], option: str
) -> None:
    from hfbench.cli.main import main

    tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hfbench", "run", "tiny.toml", *options, option])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert option in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
