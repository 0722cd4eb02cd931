"""The report of a study: what targets are held on, and the test error that this leaves to be looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.made_records import records
from support.tiny_study import compare_quietly, tiny, uses_mlflow

from hfbench.report import study_figures

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Kind and settings of the figures that would be drawn."""
    kinds: list[tuple[str, dict[str, Any]]] = []

    def made(kind: str, task: str, about: str, folder: Path, drawing: Any, *of: Any, **more: Any) -> Any:
        kinds.append((kind, more))
        files = folder / f"{kind}.png", folder / f"{kind}.svg"
        for file in files:
            file.write_text("")
        return study_figures.Figure(kind, task, *files, about)

    monkeypatch.setattr(study_figures, "_made", made)
    return kinds


def compared(folder: Path, *changes: str) -> tuple[str, str, dict[str, Any]]:
    """What is printed, the report, and the findings of a study on six seeds."""
    study = tiny(folder, "study.seeds=6", *changes)
    records(study, folder / "results")
    status, said = compare_quietly(study, folder / "results")
    assert status == 0
    made = folder / "results" / "studies" / "tiny"
    return said, (made / "report.md").read_text(), json.loads((made / "comparisons.json").read_text())


def test_a_target_on_validation_leaves_a_test_error_to_compare(tmp_path: Path, drawn: list[Any]) -> None:
    said, report, found = compared(tmp_path)
    assert "error at" in said
    assert "Targets are held on the validation error; the test error where it reached them is reported." in report
    assert "| target (validation error) |" in report
    assert "| test error at target | final test error |" in report
    assert "Test error at target: where the validation error reached it" in report
    assert [row["n"] for row in found["secondary"] if row["measure"] == "test_error_at_target"] == [6]
    figures = {kind: more.get("y") for kind, more in drawn}
    assert (figures["convergence"], figures["test-error"]) == ("validation_error", "test_error")


def test_a_target_on_the_test_cases_is_named_as_such(tmp_path: Path, drawn: list[Any]) -> None:
    said, report, found = compared(tmp_path, "study.target_on=test")
    assert "Targets are held on the test error itself." in report
    assert "| target (test error) |" in report
    assert "at target" not in report
    assert "error at" not in said
    assert {row["measure"] for row in found["secondary"]}.isdisjoint({"test_error_at_target", "final_validation_error"})
    figures = {kind: more.get("y") for kind, more in drawn}
    assert figures["convergence"] == "test_error"
    assert "test-error" not in figures


def test_how_often_errors_were_evaluated_is_told_where_it_is_rarely(tmp_path: Path, drawn: list[Any]) -> None:
    study = tiny(tmp_path, "study.evaluate_every=5")
    records(study, tmp_path / "results")
    compare_quietly(study, tmp_path / "results")
    report = (tmp_path / "results" / "studies" / "tiny" / "report.md").read_text()
    assert "every 5 steps on tiny-curves, and at the end" in report
