"""`hfbench sweep` as it is typed: whole, interrupted, and with what is wrong."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from support.sweep_stand_ins import FIRST
from support.sweep_stand_ins import sweep as small
from support.tiny_study import results_folder, uses_mlflow
from support.tiny_sweep import command, environment, runs, several_file, study_file, swept, trials

from hfbench.commands import sweep
from hfbench.config.key_paths import value_at
from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.errors import ConfigError
from hfbench.execution.pool import Pool
from hfbench.records.files import read_json
from hfbench.records.study_home import remember_asked
from hfbench.sweep import report
from hfbench.sweep.outcome import Compared, TaskOutcome
from hfbench.sweep.retest import Candidate, Winner
from hfbench.tracking.study_page import ANSWER, JUDGED, STATUS
from hfbench.tracking.study_view import KEY, TAG, sweep_views

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results of a sweep in one go, with its figures, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    results = results_folder(folder / "results")
    done = swept(study_file(folder), results, "--jobs", "1", drawn=True)
    assert (done.returncode, done.stderr) == (0, "")
    return results, done.stdout


@pytest.mark.slow
def test_a_sweep_tunes_tests_again_freezes_compares_and_reports(whole: tuple[Path, str]) -> None:
    results, screen = whole
    folder = results / "studies" / "tiny"
    assert "study.seeds has 2: a verdict with up to 2 comparisons needs " in screen
    for said in ("a: 7 trials of shf", "a trial 0/6: shf untuned", "re-tested, 6 runs", "a · settings of shf"):
        assert said in screen
    summary = read_json(folder / "sweep.json") or {}
    assert set(summary["frozen"]) == {"a"}
    assert len(summary["frozen"]["a"]["tested_again"]) == 2
    table = trials(results)
    assert set(table["trial"]) == set(range(7))
    assert table.loc[table["trial"] == 0, "scheduler.theta"].eq(0.5).all()
    assert set(table["seed"]) == {1000, 1001, 1002, 1003}
    whole_table = pd.read_parquet(folder / "trials.parquet")
    again = whole_table[whole_table["stage"] == "again"].set_index(["trial", "seed"])["work_to_target"].unstack()
    assert list(again.columns) == [2000, 2001]
    for one in summary["frozen"]["a"]["tested_again"]:
        ratio = (again.loc[one["trial"]] / again.loc[0]).map(math.log).mean()
        assert one["retest_ratio"] == pytest.approx(math.exp(ratio))
    assert max(map(len, screen.splitlines())) <= 120
    for name in ("sweep.html", "sweep.md", "history-a.png", "slices-a.svg"):
        assert (folder / name).stat().st_size > 1000
    assert "Importance on a is not estimated: it takes 10 trials" in (folder / "sweep.md").read_text()
    assert "Do &lt;thresholds&gt; matter?" in (folder / "sweep.html").read_text()


@pytest.mark.slow
def test_what_is_frozen_is_a_study_of_its_own(whole: tuple[Path, str]) -> None:
    results, screen = whole
    frozen = (read_json(results / "studies" / "tiny" / "sweep.json") or {})["frozen"]["a"]
    if frozen["trial"] == 0:
        assert "nothing to compare" in screen
        return
    study = load_study(str(results / "studies" / "tiny" / "frozen.toml"))
    assert list(study.methods) == ["shf", "shf_for_a"]
    assert study.methods["shf_for_a"].scheduler is not None
    assert study.methods["shf_for_a"].scheduler["theta"] == frozen["settings"]["scheduler.theta"]
    assert list(study.tasks) == ["a", "b"]
    assert "carry-over · work to target" in screen
    made = runs(results)
    assert {f"{method}/{task}/s{seed}" for method in study.methods for task in "ab" for seed in (0, 1)} <= set(made)


@pytest.mark.slow
def test_every_trial_is_a_run_in_mlflow_below_the_sweeps(whole: tuple[Path, str]) -> None:
    from mlflow.tracking import MlflowClient

    from hfbench.tracking.local_store import local_uri

    results, screen = whole
    client = MlflowClient(tracking_uri=local_uri(results))
    experiment = client.get_experiment_by_name("tiny")
    found = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in found if "mlflow.parentRunId" not in run.data.tags)
    assert parent.data.tags["mlflow.source.name"] == "hfbench sweep"
    children = {run.info.run_name: run for run in found if run is not parent}
    assert len(children) == len(found) - 1  # none twice
    assert set(children) == {f"shf/a/trial-{index}" for index in range(7)}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    table = trials(results)
    for index in range(7):
        of_trial, run = table[table["trial"] == index], children[f"shf/a/trial-{index}"]
        assert float(run.data.params["scheduler.theta"]) == pytest.approx(of_trial["scheduler.theta"].iloc[0], rel=1e-5)
        for seed, work in zip(of_trial["seed"], of_trial["work_to_target"], strict=True):
            assert run.data.metrics[f"work_to_target/seed-{seed}"] == pytest.approx(work)
    assert parent.data.tags["settings/range.scheduler.theta"] == "0.1 to 1.5"
    attached = {one.path for one in client.list_artifacts(parent.info.run_id)}
    assert {"sweep.html", "sweep.json", "trials.parquet", "history-a.png"} <= attached
    page = experiment.tags
    assert page[STATUS] == JUDGED
    assert page[ANSWER].startswith("On a, 7 trials")
    assert "page     http://127.0.0.1:5000/studies/tiny\n" in screen
    (view,) = sweep_views(
        parent.info.run_id, ["a"], ["work_to_target"], ["scheduler.theta", "globalization.initial_damping"]
    )
    assert json.loads(page[f"{TAG}{KEY}"])["state"] == view.packed()


@pytest.mark.slow
def test_killed_twice_it_comes_to_the_same_runs_and_repeats_none(whole: tuple[Path, str], tmp_path: Path) -> None:
    results, _ = whole
    file, again = study_file(tmp_path), results_folder(tmp_path / "results")
    seen: dict[str, int] = {}
    for enough in (5, 14):
        process = subprocess.Popen(
            command(file, again, "--jobs", "2"), env=environment(), stdout=subprocess.DEVNULL, start_new_session=True
        )
        while len(runs(again) if (again / "runs").exists() else {}) < enough:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = {path.parent.name: path.stat().st_mtime_ns for path in (again / "runs").glob("*/result.json")}
        assert seen.items() <= now.items()
        seen = now
    done = swept(file, again, "--jobs", "2")
    assert (done.returncode, done.stderr) == (0, "")
    now = {path.parent.name: path.stat().st_mtime_ns for path in (again / "runs").glob("*/result.json")}
    assert seen.items() <= now.items()
    assert runs(again) == runs(results)
    pd.testing.assert_frame_equal(trials(again), trials(results))


@pytest.mark.slow
def test_the_same_command_again_repeats_nothing(whole: tuple[Path, str]) -> None:
    results, _ = whole
    before = {path: path.stat().st_mtime_ns for path in (results / "runs").glob("*/result.json")}
    done = swept(study_file(results.parent), results, "--jobs", "1")
    assert done.returncode == 0
    assert "7 made already" in done.stdout
    assert "6 runs on fresh seeds, 6 made already" in done.stdout
    assert "trial 3/6" not in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (results / "runs").glob("*/result.json")} == before


@pytest.mark.slow
def test_of_several_objectives_the_front_is_tested_again_and_shown(tmp_path: Path) -> None:
    results = results_folder(tmp_path / "results")
    both = 'sweep.objective=["work_to_target", "distinct_to_target"]'
    done = swept(study_file(tmp_path), results, "--set", both, "--set", "sweep.trials=4", drawn=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a · the front, ratios to shf" in done.stdout
    assert "With several objectives nothing is frozen" in done.stdout
    folder = results / "studies" / "tiny"
    assert (folder / "pareto-a.png").stat().st_size > 1000
    assert "The trials that no other beats in every objective" in (folder / "sweep.md").read_text()
    assert set(trials(results)["state"]) == {"complete"}
    assert not (folder / "frozen.toml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("at_most", [0.7, 1e-6])
def test_a_constraint_is_kept_by_what_is_frozen(tmp_path: Path, at_most: float) -> None:
    # Rounding decides which trials keep 0.7, and none may; none keeps 1e-6. Both end with every figure.
    results = results_folder(tmp_path / "results")
    constraint = f'sweep.constraint={{measure="final_validation_error", at_most={at_most}}}'
    chosen = [word for option in ("study.stop_at_target=false", constraint) for word in ("--set", option)]
    done = swept(study_file(tmp_path), results, *chosen, drawn=True)
    assert (done.returncode, done.stderr) == (0, "")
    table = trials(results)
    error = table.pivot_table(index="trial", columns="seed", values="final_validation_error")
    ratio = (error / error.loc[0]).map(math.log).mean(axis=1).map(math.exp)
    complete = table.groupby("trial")["state"].first().eq("complete")
    kept = set(ratio.index[complete & (ratio <= at_most)]) - {0}
    folder = results / "studies" / "tiny"
    frozen = (read_json(folder / "sweep.json") or {})["frozen"]["a"]
    holds = {one["trial"]: one["holds"] for one in frozen["tested_again"]}
    assert set(holds) <= kept
    assert len(holds) == min(2, len(kept))
    assert frozen["trial"] == 0 or holds[frozen["trial"]]
    report_text = (folder / "sweep.md").read_text()
    assert f"constraint | final validation error at most {at_most:g}x" in report_text
    assert ("none after the first is complete and keeps the constraint" in report_text) == (not kept)
    assert (folder / "history-a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(
            ("--storage", "sqlite:////nowhere/at/all.db"),
            "the Optuna storage sqlite:////nowhere/at/all.db must be reachable",
            marks=pytest.mark.slow,
        ),
        (("--storage", "nonsense"), "the Optuna storage nonsense must be reachable and writable, but: "),
        (("--set", "sweep.sampler=gpp"), "sweep.sampler (from --set): must be one of"),
        (("--set", "sweep.retest=[1000, 5]"), "must have no seed in common with sweep.retest, but both have 1000"),
    ],
)
def test_what_is_wrong_ends_in_one_message(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    results = results_folder(tmp_path / "results")
    done = swept(study_file(tmp_path), results, *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(results.glob("runs/*/result.json"))
    assert not (results / "mlflow-artifacts").exists()  # no run is begun there either


def test_a_method_is_tuned_on_the_tasks_it_runs_on(tmp_path: Path) -> None:
    study = load_study(str(several_file(tmp_path)), ["on.b.methods=['adam','plain']"])
    assert [task.label for task in sweep.tuning_tasks(study, None)] == ["adam on a", "shf on a", "adam on b"]
    nowhere = load_study(str(several_file(tmp_path)), [f"on.{task}.methods=['adam','plain']" for task in "ab"])
    with pytest.raises(ConfigError, match=r"sweep.tasks: shf must run on one of them, but .* leaves it out of a, b\."):
        sweep.tuning_tasks(nowhere, None)


@pytest.mark.parametrize("how", ["by --seeds", "by an earlier --seeds"])
def test_seeds_that_are_tuned_on_are_never_compared(tmp_path: Path, how: str) -> None:
    file, results, seeds = study_file(tmp_path), results_folder(tmp_path / "results"), ("--seeds", "0-1,1001")
    if how != "by --seeds":
        remember_asked(load_study(str(file), seeds=seeds[1]), results)
    done = swept(file, results, *(seeds if how == "by --seeds" else ()))
    assert done.returncode == 2
    assert "(study.seeds, on.<task>), but both have 1001. " in done.stderr
    assert f" Compared are 0-1, 1001, {how}; the file has 0-1. --seeds gives others.\n" in done.stderr


def test_a_study_without_a_sweep_says_so(tmp_path: Path) -> None:
    done: Any = swept(Path("quickstart"), results_folder(tmp_path / "results"))
    assert done.returncode == 2
    assert (
        "quickstart has no [sweep] table, which says what to tune; `hfbench run` compares its methods." in done.stderr
    )


def test_the_headline_of_several_tasks_names_what_was_frozen_on_each(monkeypatch: pytest.MonkeyPatch) -> None:
    again = [Candidate(4, {}, math.log(0.3), math.log(0.5), 0.0), Candidate(2, {}, math.log(0.4), math.log(0.6), 0.0)]
    frozen = {"a": Winner(4, {}, again), "b": Winner(0, {}, again), "c": None}
    swept_on = [SimpleNamespace(task=SimpleNamespace(name=name, label=name), frozen=frozen[name]) for name in frozen]
    monkeypatch.setattr(report, "told", lambda outcome: [f"On {outcome.task.name}, all of it."])
    one: Any = SimpleNamespace(sweeps=(small(),))
    found: Any = SimpleNamespace(study=one, swept=swept_on, compared=Compared())
    head = report.sweep_headline(found)
    assert head.line == "Frozen on a: trial 4 (0.50x); b: nothing; c: nothing."
    assert list(head.details) == ["On a, all of it.", "On b, all of it.", "On c, all of it."]
    alone: Any = SimpleNamespace(study=one, swept=swept_on[:1], compared=Compared())
    assert report.sweep_headline(alone).line == "On a, all of it."


def test_its_results_folder_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders: list[Path] = []

    def noted(study: Study, tasks: object, pool: Pool, *rest: object) -> int:
        folders.append(pool.setting.results)
        return 0

    monkeypatch.setattr(sweep, "_sweep_all", noted)
    assert sweep.sweep_study(load_study(str(study_file(tmp_path))), Path("results"), 1, None, Console()) == 0
    assert folders == [Path("results")]


@pytest.mark.parametrize(
    ("tuning", "retest", "said"),
    [
        (0.38, 0.44, "took 0.38x there and 0.44x on the fresh seeds, 16 % more."),
        (0.12, 0.1, "took 0.12x there and 0.10x on the fresh seeds, 17 % less."),
        (0.72, 0.7201, "took 0.72x there and 0.72x on the fresh seeds."),
    ],
)
def test_the_winner_of_the_tuning_is_told_with_what_it_took_on_fresh_seeds(
    tuning: float, retest: float, said: str
) -> None:
    winner = Winner(3, FIRST, [Candidate(3, FIRST, math.log(tuning), math.log(retest), 0.0)])
    task: Any = SimpleNamespace(name="bowl", label="bowl", sweep=small(), method=SimpleNamespace(name="shf"))
    assert report.told(TaskOutcome(task, {}, winner, {}))[1] == f"The winner of the tuning, trial 3, {said}"


# ---------------------------------------------------------------- several methods


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("several")
    results = results_folder(folder / "results")
    done = swept(several_file(folder), results, "--jobs", "2", drawn=True)
    assert (done.returncode, done.stderr) == (0, "")
    return results, done.stdout


@pytest.mark.slow
def test_several_methods_are_tuned_within_the_same_passes_and_compared(several: tuple[Path, str]) -> None:
    results, screen = several
    folder = results / "studies" / "several"
    summary = read_json(folder / "sweep.json") or {}
    places = [(row["method"], row["task"]) for row in summary["taken"]]
    assert places == [("adam", "a"), ("shf", "a"), ("adam", "b"), ("shf", "b")]
    table = pd.read_parquet(folder / "trials.parquet")
    for row in summary["taken"]:
        own = table[(table["method"] == row["method"]) & (table["task"] == row["task"])]
        assert row["passes"] == pytest.approx(own.loc[own["stage"] == "tuning", "passes"].sum())
        assert row["passes_again"] == pytest.approx(own.loc[own["stage"] == "again", "passes"].sum())
        dearest = own.groupby(["stage", "trial"])["passes"].sum()["tuning"].max()
        assert 500 - dearest <= row["passes"] <= 500 + 3 * dearest
    frozen = load_study(str(folder / "frozen.toml"))
    assert list(frozen.methods) == ["adam", "shf", "plain"]
    for label, winner in summary["frozen"].items():
        method, task = label.split(" on ")
        for path, value in winner["settings"].items():
            assert value_at(frozen.method_on(task, method), path) == value
    assert {(row["method"], row["task"]) for row in summary["tuned"]} == {
        (m, t) for m in ("shf", "plain") for t in "ab"
    }
    made = runs(results)
    assert {f"{method}/{task}/s{seed}" for method in frozen.methods for task in "ab" for seed in (0, 1)} <= set(made)
    assert "what the tuning took, and gave on fresh seeds" in screen
    assert max(map(len, screen.splitlines())) <= 120
    report = (folder / "sweep.md").read_text()
    assert "Tuned alike, each method with what was frozen" in report
    assert "## adam, tuned on a" in report
    for name in ("tuning-a.png", "tuning-b.svg", "history-adam-a.png", "slices-shf-b.svg"):
        assert (folder / name).stat().st_size > 1000


@pytest.mark.slow
def test_the_carry_over_of_each_is_a_study_of_its_own(several: tuple[Path, str]) -> None:
    results, _ = several
    summary = read_json(results / "studies" / "several" / "sweep.json") or {}
    tuned = {label.split(" on ")[0] for label, winner in summary["frozen"].items() if winner["trial"]}
    assert {cell["tuned"] for cell in summary["carry_over"]} == tuned
    for method in tuned:
        study = load_study(str(results / "studies" / "several" / f"frozen-{method}.toml"))
        assert study.name == f"several-{method}-frozen"
        assert study.baseline == method


@pytest.mark.slow
def test_the_trials_of_several_are_runs_in_mlflow(several: tuple[Path, str]) -> None:
    from mlflow.tracking import MlflowClient

    from hfbench.tracking.local_store import local_uri

    results, _ = several
    client = MlflowClient(tracking_uri=local_uri(results))
    found = client.search_runs([client.get_experiment_by_name("several").experiment_id], max_results=1000)
    (parent,) = (run for run in found if "mlflow.parentRunId" not in run.data.tags)
    summary = read_json(results / "studies" / "several" / "sweep.json") or {}
    assert {run.info.run_name for run in found if run is not parent} == {
        f"{row['method']}/{row['task']}/trial-{index}" for row in summary["taken"] for index in range(row["trials"])
    }
    assert parent.data.tags["settings/sweep.method"] == "adam, shf"
    assert parent.data.tags["settings/range.adam.optimizer.lr"] == "0.001 to 0.1, log"


def test_what_is_frozen_need_not_be_carried_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(str(several_file(tmp_path)), ["sweep.carry_over=false"])
    drafted: list[str] = []

    def noted(drafted_study: Study, file: Path, *rest: object) -> tuple[int, Any]:
        drafted.append(f"{drafted_study.name} in {file.name}")
        return 0, SimpleNamespace()

    monkeypatch.setattr(sweep, "_run_frozen", noted)
    monkeypatch.setattr(sweep, "findings_of", lambda recorded: SimpleNamespace(comparisons=[]))
    monkeypatch.setattr(sweep, "headline", lambda recorded, found: None)
    winner = Winner(3, {}, ())
    swept_on: Any = [
        SimpleNamespace(task=SimpleNamespace(method=SimpleNamespace(name=method), name=task), frozen=winner)
        for method in ("adam", "shf")
        for task in "ab"
    ]
    pool: Any = None
    sweep._compare_frozen(study, swept_on, tmp_path, pool, 1, Console(), in_latex=False)
    assert drafted == ["several-frozen in frozen.toml"]
