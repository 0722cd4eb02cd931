"""The results published with hfbench: their tables come out of the records as they were committed, byte for byte."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from support.tiny_study import results_folder, uses_mlflow

from hfbench.commands.compare import compare_study
from hfbench.config.load import load_study, shipped_studies
from hfbench.records import archive
from hfbench.report import conclusion, study_figures

PUBLISHED = [name for name in shipped_studies() if archive.published(name)]


def test_something_is_published() -> None:
    assert "paper" in PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_report_has_its_figures_beside_it(name: str) -> None:
    committed = archive.published(name)
    assert committed is not None
    shown = re.findall(r"\]\(([^)]*\.png)\)", (committed.parent / "report.md").read_text())
    assert len(shown) > 5
    assert [one for one in shown if not (committed.parent / one).is_file()] == []


def test_every_study_is_in_the_table_and_every_link_leads_somewhere() -> None:
    folder = Path(__file__).parents[2] / "studies"
    text = (folder / "README.md").read_text("utf-8")
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert {f"{name}.toml" for name in shipped_studies()} <= set(linked)
    assert [link for link in linked if not (folder / link).exists()] == []


@uses_mlflow
@pytest.mark.usefixtures("own_store")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables_come_out_of_the_published_records(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_figures, "draw_figures", lambda *of: [])  # `.ci/run` draws them
    monkeypatch.setattr(conclusion, "_log", lambda *of: None)
    monkeypatch.setattr("hfbench.tracking.run_logger.RunLogger.ended", lambda *of: None)
    screen = io.StringIO()
    results = results_folder(tmp_path / "results")
    assert compare_study(load_study(name), results, None, Console(file=screen, width=80)) == 0
    committed, made = archive.published(name), results / "studies" / name / "comparisons.json"
    assert committed is not None
    assert made.read_bytes() == (committed.parent / "comparisons.json").read_bytes()
