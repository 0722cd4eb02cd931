"""Archives: what is exported is compared elsewhere, and under another version of the code, to the same bytes."""

import io
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from support.made_records import records
from support.tiny_study import mlflow_runs, results_folder, run_quietly, specs, tiny, uses_mlflow

from hfbench.commands import export
from hfbench.commands.compare import PUBLISHED, compare_study
from hfbench.config import run_spec
from hfbench.config.study import Study
from hfbench.errors import StoreError
from hfbench.records import archive
from hfbench.report import study_figures

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]
DRAW = study_figures.draw_figures


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path, Path]:
    """The tiny study, the results of its runs, and their archive."""
    folder = tmp_path_factory.mktemp("made")
    study, results = tiny(folder), results_folder(folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(study_figures, "draw_figures", DRAW)  # the first test that asks for it may draw none
        status, _ = run_quietly(study, results)
    assert status == 0
    shutil.copytree(results / "studies", folder / "reported" / "studies")  # a test may judge the results again
    file = folder / "tiny.parquet"
    export.export_study(study, results, None, Console(file=io.StringIO()), file)
    return study, results, file


def compared(study: Study, results: Path, file: Path | None = None) -> str:
    screen = io.StringIO()
    assert compare_study(study, results, None, Console(file=screen, width=80), archive_file=file) == 0
    return screen.getvalue()


def reports(results: Path) -> dict[str, bytes]:
    folder = results / "studies" / "tiny"
    return {name: (folder / name).read_bytes() for name in ("report.md", "report.html", "comparisons.json")}


def without_examples(reports: dict[str, bytes]) -> tuple[str, bytes]:
    """The tables and, but for the pictures of test cases that an archive does not hold, the report."""
    shown, n = re.subn(r"!\[Figure examples.*?\n\n.*?\n\n", "", reports["report.md"].decode())
    assert n <= 1
    return shown, reports["comparisons.json"]


@pytest.mark.slow
def test_an_archive_gives_the_report_of_its_runs(made: tuple[Study, Path, Path], results: Path) -> None:
    study, _, file = made
    screen = compared(study, results, file)
    assert "4 of 4 runs are recorded in the archive, none made here" in screen
    assert without_examples(reports(results)) == without_examples(reports(file.parent / "reported"))
    again = results_folder(results.parent / "again")
    compared(study, again, file)
    assert reports(again) == reports(results)


@pytest.mark.slow
def test_another_version_of_the_code_reads_it_too(
    made: tuple[Study, Path, Path], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, there, file = made
    monkeypatch.setattr(run_spec, "_core_source", lambda: b"another")
    with pytest.raises(StoreError, match="4 records of this study made by another version of the code left out"):
        compared(study, there)
    compared(study, results, file)
    assert without_examples(reports(results)) == without_examples(reports(file.parent / "reported"))


@pytest.mark.usefixtures("undrawn")
def test_runs_with_other_settings_are_not_taken(made: tuple[Study, Path, Path], results: Path, tmp_path: Path) -> None:
    _, _, file = made
    with pytest.raises(StoreError, match="tiny.parquet holds 4 runs, but none of the 4 of tiny with its settings"):
        compared(tiny(tmp_path, "study.budget={ iterations = 7 }"), results, file)
    assert not (results / "archives").exists()
    screen = compared(tiny(tmp_path, "study.seeds=3"), results, file)
    assert "4 of 6 runs are recorded" in screen
    assert "hf on tiny-curves: seed 2" in screen


@pytest.mark.usefixtures("undrawn")
def test_what_is_published_stands_in_where_nothing_is_recorded(
    made: tuple[Study, Path, Path], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, there, file = made
    with pytest.raises(StoreError, match="none of the 4 runs of tiny is recorded"):
        compared(study, results)
    monkeypatch.setattr(archive, "published", lambda name: file if name == "tiny" else None)
    assert "in the archive" in compared(study, results)
    assert "in the archive" not in compared(study, there)


@pytest.mark.usefixtures("undrawn")
def test_own_runs_come_first_and_the_published_ones_are_not_forgotten(
    made: tuple[Study, Path, Path], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, there, file = made
    monkeypatch.setattr(archive, "published", lambda name: file if name == study.name else None)
    shutil.copytree(there / "runs", results / "runs", dirs_exist_ok=True)
    for (_, seed), spec in specs(study).items():
        if seed == 1:
            shutil.rmtree(results / "runs" / spec.key())
    assert "2 of 4 runs are recorded; nothing is run" in (said := compared(study, results))
    assert "There are published runs of tiny as well: `--from published` judges those." in " ".join(said.split())
    assert "4 of 4 runs are recorded in the archive" in compared(study, results, PUBLISHED)
    monkeypatch.setattr(archive, "published", lambda name: None)
    with pytest.raises(StoreError, match="no records of tiny are published with hfbench"):
        compared(study, results, PUBLISHED)


@pytest.mark.slow
def test_its_runs_are_in_mlflow_with_their_own_times(made: tuple[Study, Path, Path], results: Path) -> None:
    study, there, file = made
    compared(study, results, file)
    children = []
    for place in (there, results):
        found = [run for run in mlflow_runs(place) if "run_key" in run.data.tags]
        children.append({one.info.run_name: (one.info.end_time, one.data.metrics) for one in found})
    assert len(children[0]) == 4
    assert children[0] == children[1]


@pytest.mark.usefixtures("undrawn")
def test_a_version_with_fewer_columns_is_read(made: tuple[Study, Path, Path], results: Path, tmp_path: Path) -> None:
    """A column of a trace that came later is empty; one that is not known is refused."""
    study, there, file = made
    compared(study, results, with_columns(file, tmp_path / "older.parquet", without="variance_inner"))
    assert reports(results)["comparisons.json"] == reports(there)["comparisons.json"]
    with pytest.raises(StoreError, match="its columns differ"):
        compared(study, results, with_columns(file, tmp_path / "newer.parquet", more="variance_outer"))


def with_columns(file: Path, to: Path, *, without: str = "", more: str = "") -> Path:
    """A copy of an archive whose traces have a column less or more."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    columns = [field for field in table.schema.field("trace").type.value_type if field.name != without]
    columns += [pa.field(more, pa.float64())] if more else []
    schema = pa.schema([*table.schema][:-1]).append(pa.field("trace", pa.list_(pa.struct(columns))))
    pq.write_table(pa.Table.from_pylist(table.to_pylist(), schema=schema), to)
    return to


def test_what_is_no_archive_is_refused(made: tuple[Study, Path, Path], results: Path, tmp_path: Path) -> None:
    study, _, file = made
    other = tmp_path / "other.parquet"
    for content in (b"", b"PAR1", file.read_bytes()[:-100]):
        other.write_bytes(content)
        with pytest.raises(StoreError, match="must be an archive written by `hfbench export`"):
            compared(study, results, other)
    pd.DataFrame({"key": ["a"]}).to_parquet(other)
    with pytest.raises(StoreError, match="its columns differ"):
        compared(study, results, other)
    with pytest.raises(StoreError, match="must be an archive"):
        compared(study, results, tmp_path / "nowhere.parquet")
    assert not (results / "archives").exists()


def test_an_archive_goes_into_a_folder_that_exists(made: tuple[Study, Path, Path], tmp_path: Path) -> None:
    study, there, _ = made
    file = tmp_path / "nowhere" / "tiny.parquet"
    with pytest.raises(StoreError, match=f"there is no {file.parent}"):
        export.export_study(study, there, None, Console(file=io.StringIO()), file)
    assert not file.parent.exists()


def test_a_key_in_an_archive_is_no_path(made: tuple[Study, Path, Path], results: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    study, _, file = made
    rows = pq.read_table(file).to_pylist()
    rows[0]["key"] = "../../../escaped"
    other = tmp_path / "hostile.parquet"
    pq.write_table(pq.read_table(file).from_pylist(rows, schema=pq.read_table(file).schema), other)
    with pytest.raises(Exception, match="must be letters"):
        compared(study, results, other)


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    """As by a tool that rewrites the file and keeps its metadata."""
    import pyarrow.parquet as pq

    study, file = tiny(tmp_path), tmp_path / "tiny.parquet"
    planned = {spec.key(): spec for spec in specs(study).values()}
    records(study, tmp_path / "results")
    export.export_study(study, tmp_path / "results", None, Console(file=io.StringIO()), file)
    assert archive.archived_contents(file, planned).keys() == planned.keys()
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[0]["result"] = rows[0]["result"].replace('"final_objective": 0.5', '"final_objective": 0.4')
    pq.write_table(table.from_pylist(rows, schema=table.schema), file)
    with pytest.raises(StoreError, match="its contents do not have the sha256 that it states"):
        archive.archived_contents(file, planned)
    pq.write_table(table.from_pylist(rows, schema=table.schema.remove_metadata()), file)  # of an earlier version
    assert archive.archived_contents(file, planned).keys() == planned.keys()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("result", '{"outcome": "reached"}', "run 1 of 4 is damaged: result: key must be given"),
        ("result", "[" * 50_000, "run 1 of 4 is damaged: result must be readable JSON"),
        ("config", None, "run 1 of 4 is damaged: config must be readable JSON"),
        ("config", "{}", "run 1 of 4 is damaged: config: task must be given"),
        ("ended", math.inf, "run 1 of 4 is damaged: ended must be seconds of the system's clock"),
        ("trace", None, "run 1 of 4 is damaged: trace must be the rows of a trace, but: some are null"),
        ("trace", [None], "run 1 of 4 is damaged: trace must be the rows of a trace, but: some are null"),
        ("trace", [], "run 1 of 4 is damaged: trace.parquet must have a row for the state before the first step"),
    ],
)
def test_a_row_that_is_no_record_is_refused(tmp_path: Path, column: str, value: Any, message: str) -> None:
    import pyarrow.parquet as pq

    study, file = tiny(tmp_path), tmp_path / "tiny.parquet"
    records(study, tmp_path / "results")
    export.export_study(study, tmp_path / "results", None, Console(file=io.StringIO()), file)
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[0][column] = value
    pq.write_table(table.from_pylist(rows, schema=table.schema), file)
    with pytest.raises(StoreError, match=re.escape(message)):
        archive.archived_contents(file, {})
