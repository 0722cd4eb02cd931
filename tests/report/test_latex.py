"""Documents as LaTeX: a file that compiles, tables to input, nothing that a text could do, and no stale file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.latex_pages import text_of, typeset
from support.tiny_study import compare_quietly, results_folder, run_quietly, tiny, uses_mlflow

from hfbench.config.study import Study
from hfbench.report.document import (
    Block,
    Bullets,
    Code,
    Document,
    Heading,
    ImageBlock,
    Mono,
    Paragraph,
    Strong,
    Table,
)
from hfbench.report.latex import latex_files, write_latex

EVIL = r"\end{document}\input{/etc/passwd} $x_1$ 50% & #1 {[*]} ~^ <a> |b| \"q\" 'r' `s` -- ρ λ × ≤ – é 中 \\[9cm]"


def every_block(text: str) -> list[Block]:
    """Blocks of each kind that show text from outside, in each of its places."""
    return [
        Heading(text),
        Heading(text, 3),
        Paragraph(text, "lead"),
        Paragraph(text, "note"),
        Paragraph((text, Strong(text, "good"), Strong(text, "faint"), Mono(text)), "warning"),
        Bullets([text, (Strong(text), text)], "note"),
        Table((text, text), [[text, Strong(text, "bad")], [Mono(text), text]], text, words=1),
        Table((text,), [[text]] * 60, text, folded=True),
        Code(f"{text}\n{text}"),
    ]


def test_tables_are_files_named_by_the_headings_above_them() -> None:
    table = Table(("a", "b"), [["x", "1"]], "Ratios & more.")
    plain = Table(("a", "b"), [["x", "1"]])
    blocks = [Heading("Task usps"), Heading("Against hf", 3), table, plain, Table(("a",), [["x"]], name="medians")]
    files = latex_files(Document("my study", blocks), "report")
    tables = ["task-usps-against-hf", "task-usps-against-hf-2", "task-usps-medians"]
    assert list(files) == ["report.tex", *(f"report-{name}.tex" for name in tables)]
    assert re.findall(r"\\input\{(.*)\}", files["report.tex"]) == list(files)[1:]
    assert (
        r"\caption{Ratios \& more.}\label{tab:my-study-task-usps-against-hf}"
        in files["report-task-usps-against-hf.tex"]
    )
    assert r"\caption{Against hf}" in files["report-task-usps-against-hf-2.tex"]


def test_no_table_takes_the_name_of_another() -> None:
    names = ["a-2", "a", "A", "a", "ä", "~"]
    files = latex_files(Document("s", [Table(("x",), [[name]], name=name) for name in names]), "report")
    found = [file.removeprefix("report-").removesuffix(".tex") for file in files][1:]
    assert found == ["a-2", "a", "a-3", "a-4", "table", "table-2"]


def test_a_figure_is_there_as_its_pdf(tmp_path: Path) -> None:
    def image(pdf: Path | None) -> Document:
        return Document("s", [ImageBlock(Path("f.png"), Path("f.svg"), "Ratios, 50 %.", "", pdf)])

    written = latex_files(image(tmp_path / "forest-a_b.pdf"), "report")["report.tex"]
    assert r"\includegraphics{forest-a_b.pdf}" in written
    assert r"\caption{Ratios, 50~\%.}\label{fig:s-forest-a-b}" in written
    assert r"\includegraphics" not in latex_files(image(None), "report")["report.tex"]


def test_files_that_are_no_longer_written_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    one, other = (Table(("a",), [["x"]], name=name) for name in ("one", "other"))
    write_latex(Document("s", [one, other]), tmp_path, "report")
    (tmp_path / "report-mine.tex").write_text("mine")
    assert (tmp_path / "report-other.tex").exists()
    write_latex(Document("s", [one]), tmp_path, "report")
    assert sorted(file.name for file in tmp_path.glob("*.tex")) == ["report-mine.tex", "report-one.tex", "report.tex"]


@pytest.mark.latex
def test_whatever_a_text_holds_it_is_text(tmp_path: Path) -> None:
    document = Document(EVIL, every_block(EVIL))
    files = write_latex(document, tmp_path, "report")
    assert all("\\input{/" not in file.read_text("utf-8") for file in files)
    pdf, _ = typeset(tmp_path / "report.tex")
    shown = text_of(pdf)
    assert "\\end{document}\\input{/etc/passwd}" in shown
    assert "[U+4E2D]" in shown


# ---------------------------------------------------------------- a study's


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    folder = tmp_path_factory.mktemp("latex")
    study, results = tiny(folder), results_folder(folder / "results")
    assert run_quietly(study, results)[0] == 0
    return study, results


@uses_mlflow
@pytest.mark.usefixtures("own_store")
def test_a_study_is_written_in_latex_when_it_is_asked_for_and_from_then_on(made: tuple[Study, Path]) -> None:
    study, results = made
    home = results / "studies" / "tiny"
    assert list(home.glob("*.tex")) + list(home.glob("*.pdf")) == []
    drawn = {file.name: file.read_bytes() for file in home.glob("*.svg")}
    printed = compare_quietly(study, results, in_latex=True)[1]
    assert f"LaTeX    {home / 'report.tex'}" in printed
    assert {file.stem for file in home.glob("*.pdf")} == {file.stem for file in home.glob("*.png")}
    assert {file.name: file.read_bytes() for file in home.glob("*.svg")} == drawn
    report, markdown = (home / "report.tex").read_text("utf-8"), (home / "report.md").read_text("utf-8")
    assert len(re.findall(r"\\input", report)) == len(re.findall(r"^\|[-: |]+\|$", markdown, re.MULTILINE))
    assert re.findall(r"\\includegraphics\{(.*)\.pdf\}", report) == re.findall(r"!\[.*\]\((.*)\.png\)", markdown)
    (home / "report.tex").write_text("stale")
    assert compare_quietly(study, results)[0] == 0
    assert (home / "report.tex").read_text("utf-8") == report


@uses_mlflow
@pytest.mark.usefixtures("own_store", "undrawn")
def test_a_variant_that_speaks_for_the_study_brings_its_files_home(tmp_path: Path) -> None:
    results = results_folder(tmp_path / "results")
    study = tiny(tmp_path, "study.seeds=1")
    assert run_quietly(study.on_seeds((3,)), results, in_latex=True)[0] == 0
    home = results / "studies" / "tiny"
    variant = home / "variants" / "seeds-3"
    names = {file.name for file in variant.glob("*.tex")}
    assert "report.tex" in names
    assert {file.name for file in home.glob("*.tex")} == names


@pytest.mark.latex
@uses_mlflow
@pytest.mark.usefixtures("own_store")
def test_the_report_of_a_study_compiles_and_reads_as_the_others(made: tuple[Study, Path]) -> None:
    study, results = made
    compare_quietly(study, results, in_latex=True)
    home = results / "studies" / "tiny"
    typeset(home / "report.tex")
    pdf, warnings = typeset(home / "report.tex")
    assert [said for said in warnings if "Missing" in said] == []
    shown = text_of(pdf)
    assert "Does <LSMR> need less *work*?" in shown
    assert "hfbench run tiny.toml" in shown
