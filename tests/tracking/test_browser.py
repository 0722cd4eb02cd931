"""What a researcher reads in MLflow: the pages of `hfbench ui` over a study, as a real browser draws them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mlflow_pages import Pages, pages
from support.tiny_study import results_folder, run_quietly, tiny, uses_mlflow

pytestmark = [pytest.mark.slow, pytest.mark.browser, uses_mlflow]

RUNS = ("hf/tiny-curves/s0", "hf/tiny-curves/s1", "shf/tiny-curves/s0", "shf/tiny-curves/s1")
COLUMNS = ("preconditioner", "scheduler", "solver", "summary/work_to_target", "verdict")
VERDICT = "inconclusive (n too small)"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run_quietly(tiny(folder), results_folder(folder / "results"))
        with pages(folder / "results") as opened:
            yield opened


def test_the_runs_can_be_grouped_and_told_apart_by_what_differs(shown: Pages, tmp_path: Path) -> None:
    shown.open_runs()
    shown.wait("tiny", "5 matching runs")
    shown.group_by("method")
    shown.choose_columns(*COLUMNS, instead_of=("Dataset", "Source", "Models"))
    text = shown.wait("Metrics", "Parameters", "Tags", "Group: hf", "Group: shf", *COLUMNS, *RUNS)
    shown.shoot(tmp_path / "runs.png")
    for cells in ("martens fixed cg [0-9.]+ baseline", f"chapelle-erhan dynamic lsmr [0-9.]+ {re.escape(VERDICT)}"):
        assert len(re.findall(cells, " ".join(text.split()))) == 2, text


def test_the_charts_come_in_sections_with_one_curve_per_group(shown: Pages, tmp_path: Path) -> None:
    shown.open_runs("CHART")
    shown.group_by("verdict")
    text = shown.wait("baseline (cost/batch_gradient)", f"{VERDICT} (cost/batch_gradient)")
    shown.shoot(tmp_path / "charts.png")
    sections = {name: int(charts) for name, charts in re.findall(r"^(\w+)\n\((\d+)\)$", text, re.MULTILINE)}
    kinds = {"train": 3, "validation": 2, "test": 1, "opt": 7, "cost": 11}
    assert {name: sections.get(name) for name in kinds} == kinds
    assert sections["summary"] >= 10


def test_runs_are_compared_side_by_side(shown: Pages, tmp_path: Path) -> None:
    shown.open_comparison(*RUNS)
    shown.wait("Comparing 4 Runs from 1 Experiment", "Parameters", "Metrics", "Tags", *RUNS)
    shown.shoot(tmp_path / "compare.png")
    assert shown.row("method") == "method hf hf shf shf"
    assert shown.row("solver") == "solver cg cg lsmr lsmr"
    assert shown.row("preconditioner") == "preconditioner martens martens chapelle-erhan chapelle-erhan"
    assert shown.row("scheduler") == "scheduler fixed fixed dynamic dynamic"
    assert shown.row("seed") == "seed 0 1 0 1"
    assert shown.row("verdict") == f"verdict baseline baseline {VERDICT} {VERDICT}"
    shown.wait("cost/batch_gradient")  # further rows are drawn as they come into sight


def test_the_study_tells_its_question_verdict_and_figures(shown: Pages, tmp_path: Path) -> None:
    shown.open_study()
    shown.click("Show more")
    text = shown.wait("Show less", "Description", "Child runs", *RUNS)
    shown.shoot(tmp_path / "study.png")
    assert "Does <LSMR> need less *work*?" in text.splitlines()
    assert shown.row("shf").endswith(VERDICT)
    assert f"verdict/tiny-curves/shf-vs-hf\n: {VERDICT}" in text
    assert "targets\ntiny-curves: 60" in text
    shown.open_study("/artifacts/forest.png")
    shown.wait("report.html", "forest.svg")
    width = shown.until(shown.image_width, "figure")
    shown.shoot(tmp_path / "figure.png")
    assert width > 500
