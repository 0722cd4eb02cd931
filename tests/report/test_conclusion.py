"""The report of a study, made by `hfbench run` and again by `hfbench compare`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.tiny_study import (
    FACTORIAL,
    MISBEHAVING,
    FullDisk,
    Raises,
    compare_quietly,
    mlflow_runs,
    results_folder,
    run_quietly,
    specs,
    tiny,
    uses_mlflow,
)

from hfbench import registry
from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.records import judgements
from hfbench.records.files import read_json
from hfbench.records.recorded_study import EARLY
from hfbench.records.run_folder import RunFolder
from hfbench.records.study_home import ASKED
from hfbench.report import study_figures
from hfbench.report.conclusion import NOTE, command_of, shortened
from hfbench.report.study_figures import KEPT
from hfbench.tracking.mlflow_store import Tracker

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]

NOTES = """notes = '''
Pilots:
seed 9.

Slow *machine*.
'''
question ="""

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


def differing(files: dict[str, bytes], others: dict[str, bytes]) -> set[str]:
    """Names of the files whose bytes differ; a comparison of the bytes would print them all."""
    return {name for name in files.keys() | others.keys() if files.get(name) != others.get(name)}


def logged(study: Study, results: Path) -> list[Any]:
    return mlflow_runs(results, study.name)


class References(HTMLParser):
    """What a page refers to, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]


# ---------------------------------------------------------------- a factorial study, run once


@pytest.fixture(scope="module")
def factorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path, str]:
    """A 2x2x2 study on two seeds with a first-order method beside it; its results folder and what was printed."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = tmp_path_factory.mktemp("factorial")
        tiny(folder, extra=BASELINE + FACTORIAL)
        file = folder / "tiny.toml"
        file.write_text(file.read_text().replace("question =", NOTES))
        study, results = load_study(str(file)), results_folder(folder / "results")
        status, screen = run_quietly(study, results)
    assert status == 0
    return study, results, screen


def test_a_run_ends_in_a_report_that_needs_no_other_file(factorial: tuple[Study, Path, str]) -> None:
    _, results, screen = factorial
    page = (folder_of(results) / "report.html").read_text()
    found = References(page)
    assert len(found.found) > 10
    assert all(target.startswith(("data:image/", "#")) for target in found.found)
    assert found.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "form"})
    assert "Does &lt;LSMR&gt; need less *work*?" in page
    assert f"report   {folder_of(results) / 'report.html'}" in screen


def test_the_report_says_what_was_asked_found_and_done(factorial: tuple[Study, Path, str]) -> None:
    study, results, _ = factorial
    text = (folder_of(results) / "report.md").read_text()
    sections = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert sections == ["Answer", "Task tiny-curves", "All tasks", "How it was done"]
    for method in study.methods:
        needed = f", {method} needed".replace("_", r"\_")
        assert text.count(needed) == (method != "hf")
    assert "```sh\nhfbench run tiny.toml\n```" in text
    assert "| solver × scheduler |" in text
    answer = text[text.index("## Answer") : text.index("## Task tiny-curves")]
    assert "solver cg -&gt; lsmr multiplies the work by" in answer
    assert answer.count(" multiplies the work by ") == 3
    made_of = r"curves-small (layers = \[12, 4\], validation = 50, cases = 200)"
    assert f"| tiny-curves | {made_of} | 60 | 6 iterations | 0-1 | all |" in text
    assert "Generated from the seed, no files: tiny-curves." in text
    assert "\n\nPilots: seed 9.\n\nSlow \\*machine\\*.\n\n" in text
    assert re.search(r"- 18 runs: python 3\S+, hfbench \S+, torch \S+, numpy \S+", text)
    for spec in specs(study).values():
        assert f"<code>{spec.key()}</code>" in text


def test_stopped_early_is_the_test_error_at_the_least_validation_error(factorial: tuple[Study, Path, str]) -> None:
    study, results, screen = factorial
    table = pd.read_parquet(folder_of(results) / "runs.parquet").set_index("key")
    found = {}
    for spec in specs(study).values():
        trace = pd.read_parquet(RunFolder(results, spec.key()).trace_path)
        pairs = list(zip(trace["validation_error"], trace["test_error"], strict=True))
        assert len(pairs) > 3
        found[spec.method.name, spec.seed] = min(pairs)[1]
        assert table.loc[spec.key(), EARLY] == min(pairs)[1]
    medians = {name: (found[name, 0] + found[name, 1]) / 2 for name in ("hf", "adam")}
    text = (folder_of(results) / "report.md").read_text()
    for name, value in medians.items():
        assert re.search(rf"\| {name} \|.* {value:.3g} \| \d/2 \|", text)
        assert re.search(rf"^ {name} .* {value:.3g} +\d/2 *$", screen, flags=re.MULTILINE)


def test_the_figures_of_the_markdown_are_beside_it(factorial: tuple[Study, Path, str]) -> None:
    _, results, screen = factorial
    shown = re.findall(r"\]\(([^)]*\.png)\)", (folder_of(results) / "report.md").read_text())
    of_task = ("convergence", "test-error", "objective", "batches", "inner", "examples", "interactions")
    names = {f"{name}.png" for name in ("forest", "effects", "reached", "profile", "memory")}
    assert set(shown) == names | {f"{name}-tiny-curves.png" for name in of_task}
    assert all((folder_of(results) / name).stat().st_size > 5_000 for name in shown)
    assert re.findall(r"^figure   (.*)$", screen, re.M) == [str(folder_of(results) / "forest.png")]


def test_effects_are_printed_and_kept(factorial: tuple[Study, Path, str]) -> None:
    _, results, screen = factorial
    assert "effects on work to target (passes), 2 seeds in 8 cells" in screen
    assert "solver cg -> lsmr multiplies the work by" in " ".join(screen.split())
    effects = pd.read_parquet(folder_of(results) / "effects.parquet")
    names = ["solver", "preconditioner", "scheduler", "solver:preconditioner", "solver:scheduler",
             "preconditioner:scheduler"]  # fmt: skip
    assert list(effects["effect"]) == names
    kept = read_json(folder_of(results) / "comparisons.json") or {}
    assert [one["effect"] for one in kept["effects"]] == names
    assert kept["effects"][0]["ratio"] == pytest.approx(effects["ratio"][0])


def test_a_method_without_products_has_a_dash_and_no_ratio_of_them(factorial: tuple[Study, Path, str]) -> None:
    _, results, screen = factorial
    medians = screen[screen.index("medians over seeds") :]
    assert re.search(r"^ adam +\S+ +\S+ +– ", medians, flags=re.MULTILINE)
    secondary = pd.read_parquet(folder_of(results) / "secondary.parquet")
    of = {method: set(group["measure"]) for method, group in secondary.groupby("method")}
    assert of["shf"] - of["adam"] == {"products_to_target", "test_error_at_target"}  # adam reaches no target


def test_everything_is_attached_to_the_run_in_mlflow(factorial: tuple[Study, Path, str]) -> None:
    study, results, _ = factorial
    runs = logged(study, results)
    parent = next(run for run in runs if "run_key" not in run.data.tags)
    client = Tracker(results, study.name).client
    attached = {one.path for one in client.list_artifacts(parent.info.run_id)}
    on_disk = set(written(folder_of(results))) - {KEPT, ASKED}
    assert attached == on_disk
    assert {"report.html", "report.md", "verdicts.parquet", "effects.parquet", "forest.svg"} <= on_disk
    assert parent.data.tags["effect/tiny-curves/solver:scheduler"] == "inconclusive (n too small)"
    looked_at = {f"stat/tiny-curves/adam/{name}" for name in ("ratio_low", "ci_low", "ci_level")}  # of bounds
    assert {name for name in parent.data.metrics if "/adam/" in name} == looked_at
    assert all(name.startswith("stat/") for name in parent.data.metrics)
    kept = read_json(folder_of(results) / "comparisons.json") or {}
    assert kept["runs"] == {"reached": 16, "budget": 2, "missing": 0}
    assert all("sd" in row for row in (*kept["comparisons"], *kept["effects"]))
    assert "effects on work" in parent.data.tags["mlflow.note.content"]
    verdicts = {run.data.tags["method"]: run.data.tags["verdict"] for run in runs if run is not parent}
    assert verdicts == {"hf": "baseline", **dict.fromkeys([*study.methods][1:], "inconclusive (n too small)")}
    for run in runs:
        own = {name for name in run.data.metrics if name.startswith("stat/") and name.count("/") == 1}
        judged = run is not parent and run.data.tags["method"] != "hf"
        numbers = {f"stat/{name}" for name in ("ratio", "ratio_low", "ratio_high", "ci_low", "ci_high", "ci_level")}
        assert own <= (numbers if judged else set())  # of two seeds: no p
        assert ("stat/ci_low" in own) == judged
        for name in own:
            said = f"stat/tiny-curves/{run.data.tags['method']}/{name.removeprefix('stat/')}"
            assert run.data.metrics[name] == parent.data.metrics[said]


@pytest.mark.slow
def test_a_second_compare_gives_the_same_bytes_and_runs_nothing(factorial: tuple[Study, Path, str]) -> None:
    """In another process, in which sets have another order."""
    study, results, _ = factorial
    before, runs = written(folder_of(results)), written(results / "runs")
    (folder_of(results) / KEPT).unlink()  # so that all is drawn anew
    program = [sys.executable, "-c", "from hfbench.cli.main import main; main()", "compare", study.source]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [*program, "--results", str(results)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "18 of 18 runs are recorded; nothing is run" in done.stdout
    assert "inconclusive (n too small)" in done.stdout
    assert not differing(written(folder_of(results)), before)
    assert not differing(written(results / "runs"), runs)


@pytest.mark.slow
def test_figures_of_the_same_records_are_not_drawn_again(
    factorial: tuple[Study, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results, _ = factorial
    folder = folder_of(results)
    before = written(folder)
    with monkeypatch.context() as patch:
        patch.setattr(study_figures, "_made", None)  # drawing would fail
        assert compare_quietly(study, results)[0] == 0
    assert not differing(written(folder), before)
    (folder / "forest.png").write_bytes(b"changed by hand")
    assert compare_quietly(study, results)[0] == 0
    assert not differing(written(folder), before)
    fewer = dataclasses.replace(study, margin=1.2)  # other shading, other verdicts
    assert compare_quietly(fewer, results)[0] == 0
    assert (folder / "forest.png").read_bytes() != before["forest.png"]
    assert compare_quietly(study, results)[0] == 0
    assert differing(written(folder), before) == {judgements.FILE}, "both margins are remembered; the rest is as it was"


# ---------------------------------------------------------------- text from outside

EVIL = "<script>alert(1)</script> </style> ![x](http://x.example/y.png) \x1b[31m \u202e"


@pytest.mark.usefixtures("undrawn")
def test_questions_and_errors_are_never_markup(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(*of: Any) -> Any:
        raise RuntimeError(EVIL)

    monkeypatch.setattr(Raises, "iterates", planted)
    with registry.temporary("solver", "raises", Raises):
        question = f"study.question={json.dumps(EVIL)}"
        study = tiny(tmp_path, "study.seeds=1", question, extra=MISBEHAVING % ("boom", "raises"))
        assert run_quietly(study, results)[0] == 1
        assert compare_quietly(study, results)[0] == 0
    page, text = ((folder_of(results) / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert References(page).tags.isdisjoint({"script", "img"})
    assert page.count("<style>") == page.count("</style>") == 1
    assert text.count("&lt;script&gt;") == 2
    assert not re.search(r"(?<!\\)\]\(http", text)
    assert not re.search("[\x1b\u202e]", page + text)
    assert "1 of the 3 recorded runs failed." in page
    assert "boom/tiny-curves/s0: RuntimeError: " in page


@pytest.mark.usefixtures("undrawn")
def test_runs_that_their_method_ends_count_as_never_reaching_the_target(results: Path, tmp_path: Path) -> None:
    """A method whose program breaks eight times has lost eight times."""
    with registry.temporary("solver", "raises", Raises):
        study = tiny(tmp_path, "methods.shf.solver=raises", "study.seeds=8", "study.targets.tiny-curves=80")
        status, screen = run_quietly(study, results)
    words = " ".join(screen.split())
    assert status == 1
    assert "not at the target: shf 8 failed" in words
    assert "clearly worse. Target reached by shf in 0/8 (8 failed) and by hf in 8/8." in words
    said = "Failed: 8 of 16 runs. 8 by their own method: counted as never reaching the target."
    assert said in words
    page = (folder_of(results) / "report.html").read_text()
    assert page.index(said) < page.index("Answer</h2>")
    assert "shf on tiny-curves: seeds 0-7" in page
    comparison = (read_json(folder_of(results) / "comparisons.json") or {})["comparisons"][0]
    assert (comparison["n"], comparison["failed"], comparison["verdict"]) == (8, 8, "clearly worse")


@pytest.mark.usefixtures("undrawn")
def test_runs_that_the_machine_ends_are_left_out(results: Path, tmp_path: Path) -> None:
    """Eight full disks of the baseline are no eight wins of the other method."""
    with registry.temporary("solver", "full", FullDisk):
        status, screen = run_quietly(tiny(tmp_path, "methods.hf.solver=full", "study.seeds=8"), results)
    words = " ".join(screen.split())
    assert status == 1
    assert "better" not in words
    assert "Failed: 8 of 16 runs. 8 by the machine (killed, memory, disk, data): left out." in words
    assert "no seed was run for both shf and hf: inconclusive (n too small)" in words
    comparison = (read_json(folder_of(results) / "comparisons.json") or {})["comparisons"][0]
    assert (comparison["n"], comparison["missing"], comparison["p"]) == (0, 8, None)


# ---------------------------------------------------------------- words


def test_the_command_names_the_study_and_quotes_its_options(tmp_path: Path) -> None:
    study = tiny(tmp_path / "my files")
    said = command_of(study, ["--set", "study.question=Why not?"])
    assert said == "hfbench run tiny.toml --set 'study.question=Why not?'"


def test_on_the_screen_it_names_file_and_folder_as_they_are_typed(tmp_path: Path) -> None:
    study = tiny(tmp_path / "my files")
    assert command_of(study, ["--seeds", "3"], Path("results")) == f"hfbench run '{study.source}' --seeds 3"
    assert command_of(study, [], Path("my results")).endswith("tiny.toml' --results 'my results'")
    assert command_of(load_study("quickstart"), [], Path("x")) == "hfbench run quickstart --results x"


def test_a_note_too_long_for_mlflow_ends_at_a_line_and_says_so() -> None:
    assert shortened("short\n") == "short\n"
    note = shortened("- a line of the note\n" * 1000)
    assert NOTE - 100 < len(note) <= NOTE
    assert note.endswith("- a line of the note\n\n… The rest is in report.md, under Artifacts.")
