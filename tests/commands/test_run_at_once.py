"""Studies started at once on one results folder, by processes that know nothing of each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.tiny_study import mlflow_runs, tiny, uses_mlflow

from hfbench.commands.compare import compare_study
from hfbench.commands.run import run_study
from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.interrupts import STOPPING
from hfbench.records.locks import study_lock

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]

# All that takes time is imported before the start. Figures are no part of it.
COMMAND = """
import sys
import torch, joblib, mlflow.tracking, pandas
from hfbench.cli.main import main
from hfbench.commands import run
from hfbench.report import study_figures
study_figures.draw = lambda *of: []
print("ready", flush=True)
sys.stdin.readline()
main()
"""


def ready(*arguments: str) -> subprocess.Popen[str]:
    """`hfbench` with these arguments, about to start."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def entries(results: Path, study: str) -> list[Any]:
    """Every MLflow run of the study."""
    return mlflow_runs(results, study)


def statuses(found: list[Any]) -> dict[str, str]:
    """By name; each name once."""
    assert max(Counter(entry.info.run_name for entry in found).values()) == 1
    return {entry.info.run_name: entry.info.status for entry in found}


RUNS = {f"{method}/tiny-curves/s{seed}": "FINISHED" for method in ("hf", "shf") for seed in range(6)}


@pytest.mark.slow
def test_of_two_starts_of_one_study_the_second_is_told_who_runs_it(tmp_path: Path) -> None:
    results, study = tmp_path / "results", tiny(tmp_path).source
    both = [ready("run", study, "--seeds", "6", "--jobs", "1", "--results", str(results)) for _ in range(2)]
    for process in both:
        start(process)
    said = [process.communicate(timeout=120) for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    refused = 0 if both[0].returncode == 2 else 1
    out, err = said[refused]
    # Where two seconds go by before it is told, it says how far it is.
    assert [line for line in out.splitlines() if not line.startswith("checking the methods: ")] == []
    assert len(err.splitlines()) == 1
    holder = f"`hfbench run`, process {both[1 - refused].pid} on "
    assert err.startswith(f"hfbench: tiny is worked on in {results} by {holder}")
    assert statuses(entries(results, "tiny")) == RUNS | {"tiny": "FINISHED"}


@pytest.mark.slow
def test_two_studies_on_one_new_folder_both_end_with_all_their_runs_logged(tmp_path: Path) -> None:
    results, studies = tmp_path / "results", ("tiny", "other")
    files = [tiny(tmp_path / name).source for name in studies]
    text = Path(files[1]).read_text().replace('name = "tiny"', 'name = "other"').replace("iterations = 6", "passes = 9")
    Path(files[1]).write_text(text)
    both = [ready("run", file, "--seeds", "6", "--jobs", "1", "--results", str(results)) for file in files]
    for process in both:
        start(process)
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for study in studies:
        assert statuses(entries(results, study)) == RUNS | {study: "FINISHED"}


@pytest.mark.slow
def test_sigterm_ends_a_study_as_ctrl_c_does(results: Path, tmp_path: Path) -> None:
    process = ready("run", tiny(tmp_path).source, "--seeds", "80", "--jobs", "2", "--results", str(results))
    start(process)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("[  3/160]"):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    said = [line for line in out.splitlines() if not line.startswith("[")]
    err = err.replace(f"{STOPPING}\n", "")
    assert (process.returncode, said, err) == (143, ["Interrupted. The same command goes on where it stopped."], "")
    assert statuses(entries(results, "tiny"))["tiny"] == "KILLED"


def test_a_study_that_is_run_is_compared_without_mlflow(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hfbench.report.study_figures.draw_figures", lambda *of: [])
    study: Study = load_study(tiny(tmp_path).source, ["study.seeds=1"])
    assert run_study(study, results, 1, None, Console(width=200)) == 0
    before = {entry.info.run_id: entry.data.tags for entry in entries(results, "tiny")}
    (results / "studies" / "tiny" / "report.md").unlink()
    more = load_study(study.source, ["study.seeds=2"])
    capsys.readouterr()
    with study_lock(results, "tiny", "hfbench run"):
        assert compare_study(more, results, None, Console(width=200)) == 0
    assert f"MLflow is left to `hfbench run`, process {os.getpid()} on " in capsys.readouterr().out
    assert (results / "studies" / "tiny" / "report.md").exists()
    assert {entry.info.run_id: entry.data.tags for entry in entries(results, "tiny")} == before
