"""Figures of a study: which one to open first, and the bar while they are drawn."""

from __future__ import annotations

import hashlib
import io
from itertools import islice
from pathlib import Path

import pytest
from rich.console import Console
from support.misplaced_files import PRIVATE, PRIVATE_FILE
from support.result_tables import runs
from support.tiny_study import tiny

from hfbench.config.study_runs import runs_of
from hfbench.records.recorded_study import Leftovers, RecordedStudy
from hfbench.records.sealed import write_sealed_json
from hfbench.report import study_figures
from hfbench.statistics.findings import findings_of


def test_without_a_forest_the_first_convergence_is_the_figure_to_open() -> None:
    def figure(kind: str, task: str = "") -> study_figures.Figure:
        return study_figures.Figure(kind, task, Path(f"{kind}.png"), Path(f"{kind}.svg"), "")

    course = [figure("reached"), figure("convergence", "usps"), figure("convergence", "mnist")]
    assert study_figures.first_to_open([*course, figure("forest")]) == figure("forest")
    assert study_figures.first_to_open(course) == figure("convergence", "usps")
    assert study_figures.first_to_open(course[:1]) is None


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_counts_the_figures_as_they_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    study = tiny(tmp_path, "study.seeds=1")
    specs = {spec.key(): spec for spec in runs_of(study, None)}
    table = runs({"hf": {0: 100.0}, "shf": {0: 50.0}}, task="tiny-curves").to_dict("records")
    ended = {key: {**row, "key": key} for key, row in zip(specs, table, strict=True)}
    recorded = RecordedStudy(study, specs, tmp_path, tmp_path, ended, Leftovers())
    for name in ("comparisons_forest", "reached", "profile", "memory"):
        monkeypatch.setattr(f"hfbench.figures.{name}", lambda *of, **more: empty(of[1]))
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    drawn = study_figures.draw_figures(recorded, findings_of(recorded), tmp_path, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert [figure.kind for figure in drawn] == ["forest", "reached", "profile"]
    assert ("drawing figures: 3 of 3" in printed) == terminal
    if not terminal:
        assert printed == ""


def test_figures_that_would_be_empty_are_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny(tmp_path, "study.seeds=1")
    specs = {spec.key(): spec for spec in runs_of(study, None)}
    for name in ("comparisons_forest", "reached", "profile", "memory"):
        monkeypatch.setattr(f"hfbench.figures.{name}", lambda *of, **more: empty(of[1]))
    for ended, kinds in ((None, ["forest", "reached"]), ("failed", ["forest"])):
        table = runs({"hf": {0: ended}, "shf": {0: ended}}, task="tiny-curves").to_dict("records")
        results = {key: {**row, "key": key} for key, row in zip(specs, table, strict=True)}
        recorded = RecordedStudy(study, specs, tmp_path, tmp_path, results, Leftovers())
        drawn = study_figures.draw_figures(recorded, findings_of(recorded), tmp_path)
        assert [figure.kind for figure in drawn] == kinds


def test_figures_that_are_no_longer_drawn_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, folder, home = tiny(tmp_path, "study.seeds=1"), tmp_path / "variant", tmp_path / "home"
    specs = {spec.key(): spec for spec in runs_of(study, None)}
    for name in ("comparisons_forest", "reached", "profile", "memory"):
        monkeypatch.setattr(f"hfbench.figures.{name}", lambda *of, **more: empty(of[1]))
    for path in (folder, home):
        path.mkdir()
        (path / "photograph.png").touch()
    forest = {"forest.png", "forest.svg", "photograph.png", study_figures.KEPT}
    reached = {"reached.png", "reached.svg"}
    for ended, names in ((None, forest | reached), ("failed", forest)):
        table = runs({"hf": {0: ended}, "shf": {0: ended}}, task="tiny-curves").to_dict("records")
        results = {key: {**row, "key": key} for key, row in zip(specs, table, strict=True)}
        recorded = RecordedStudy(study, specs, tmp_path, tmp_path, results, Leftovers())
        drawn = study_figures.draw_figures(recorded, findings_of(recorded), folder)
        study_figures.copy_figures(drawn, home)
        for path in (folder, home):
            assert {file.name for file in path.iterdir()} == names


def empty(path: Path) -> list[Path]:
    files = [path.with_name(path.name + suffix) for suffix in (".png", ".svg")]
    for file in files:
        file.touch()
    return files


def test_figures_without_a_pdf_are_drawn_again_where_one_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(tmp_path, "study.seeds=1")
    specs = {spec.key(): spec for spec in runs_of(study, None)}
    table = runs({"hf": {0: 100.0}, "shf": {0: 50.0}}, task="tiny-curves").to_dict("records")
    ended = {key: {**row, "key": key} for key, row in zip(specs, table, strict=True)}
    recorded = RecordedStudy(study, specs, tmp_path, tmp_path, ended, Leftovers())
    of_all = study_figures._of_all
    monkeypatch.setattr(study_figures, "_of_all", lambda *of: islice(of_all(*of), 1))

    def files(in_pdf: bool) -> list[list[str]]:
        drawn = study_figures.draw_figures(recorded, findings_of(recorded), tmp_path, None, in_pdf)
        return [[path.suffix for path in figure.paths] for figure in drawn]

    assert files(in_pdf=False) == [[".png", ".svg"]]
    assert files(in_pdf=True) == [[".png", ".svg", ".pdf"]]
    monkeypatch.setattr(study_figures, "_drawn", lambda *of: pytest.fail("drawn again"))
    assert files(in_pdf=True) == files(in_pdf=False) == [[".png", ".svg", ".pdf"]]


@pytest.mark.parametrize("kind", ["png", "pdf"])
@pytest.mark.parametrize("name", [f"../{PRIVATE_FILE}", "a.png", 7, ["forest.png"]])
def test_only_figures_whose_digests_are_listed_are_shown_again(tmp_path: Path, name: object, kind: str) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    for file in (tmp_path / PRIVATE_FILE, folder / "forest.png", folder / "forest.svg", folder / "a.png"):
        file.write_bytes(PRIVATE)
    files = {name: hashlib.sha256(PRIVATE).hexdigest() for name in ("forest.png", "forest.svg")}
    row: dict[str, object] = {"kind": "forest", "task": "", "about": "Ratios."}
    row |= {"png": "forest.png", "svg": "forest.svg"}
    listing = {"drawn_from": "records", "files": files}
    write_sealed_json(folder / study_figures.KEPT, {**listing, "figures": [row]})
    assert study_figures._kept(folder, "records")
    write_sealed_json(folder / study_figures.KEPT, {**listing, "figures": [{**row, kind: name}]})
    assert study_figures._kept(folder, "records") is None
