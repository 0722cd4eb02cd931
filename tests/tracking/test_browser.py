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


@pytest.fixture(scope="module")
def won(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A study with a winner, in a browser that nobody has used before."""
    folder = tmp_path_factory.mktemp("won")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run_quietly(tiny(folder, "study.seeds=8"), results_folder(folder / "results"))
        with pages(folder / "results") as opened:
            yield opened


def test_the_printed_address_opens_on_the_answer(won: Pages, tmp_path: Path) -> None:
    won.driver.get(won.printed["tiny"])
    text = won.wait("shf won", "Who won", "Group: hf", "Group: shf", "16 matching runs", "shf (validation/error)")
    won.until(lambda: len(won.driver.find_elements("css selector", ".js-plotly-plot")) == 5, "five charts")
    won.shoot(tmp_path / "view.png")
    headline = next(line for line in text.splitlines() if line.startswith("shf won"))
    ratio = r"(between 0\.\d+x and )?0\.\d+x the work of hf \(95 % CI .*, Wilcoxon p_Holm = \.008, 8 seeds\)"
    assert re.fullmatch(rf"shf won: {ratio}: clearly better\.", headline)
    assert won.driver.find_element("xpath", "//*[normalize-space()='Model training']").is_displayed()
    for absent in ("Traces 0", "Ask questions about", "Additional runs", "stat (", "cost/products"):
        assert absent not in text
    shut = re.findall(r"^(\w+)\n\((\d+)\)$", text, re.MULTILINE)
    assert {("validation", "1"), ("train", "3")} <= {*shut}


def test_the_server_begins_with_the_studies_and_their_verdicts(won: Pages, tmp_path: Path) -> None:
    won.driver.get(won.address)
    text = won.wait("Studies", "tiny", "Does <LSMR> need less *work*?", "shf won: ")
    won.shoot(tmp_path / "start.png")
    assert won.driver.current_url == f"{won.address}/studies"
    assert "clearly better." in text
    won.click("tiny", "//a[normalize-space()={0}]")
    won.wait("shf won", "16 matching runs")


def test_a_click_on_the_study_in_mlflow_opens_its_runs(won: Pages, tmp_path: Path) -> None:
    won.driver.get("about:blank")
    won.driver.get(f"{won.address}/#/experiments")
    won.click("tiny", "//a[normalize-space()={0}]")
    text = won.wait("Runs", "matching runs", "shf won")
    won.shoot(tmp_path / "clicked.png")
    assert "Ask questions about" not in text


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
    assert "settings/targets\n: tiny-curves: 60" in text
    shown.open_study("/artifacts/forest.png")
    shown.wait("report.html", "forest.svg")
    width = shown.until(shown.image_width, "figure")
    shown.shoot(tmp_path / "figure.png")
    assert width > 500
