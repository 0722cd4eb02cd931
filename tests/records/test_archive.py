"""Archives: what is exported is compared elsewhere, and under another version of the code, to the same bytes."""

import io
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from support.hostile_archives import archive_of, mutated, repeated, table_of, with_rows
from support.made_records import records
from support.tiny_study import mlflow_runs, results_folder, run_quietly, specs, tiny, uses_mlflow

from hfbench.commands import export
from hfbench.commands.compare import PUBLISHED, compare_study
from hfbench.config import run_spec
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.errors import StoreError
from hfbench.records import archive
from hfbench.records.run_folder import Contents
from hfbench.records.validation import check_planned
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


# ---------------------------------------------------------------- archives of others


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, RunSpec], bytes]:
    """The planned runs of the tiny study, and an archive of made-up records of them."""
    folder = tmp_path_factory.mktemp("others")
    study = tiny(folder)
    return {spec.key(): spec for spec in specs(study).values()}, archive_of(study, folder)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


RECORD = r"results/archives/tiny-[0-9a-f]{8}/runs/[0-9a-f]{16}/(config.json|result.json|manifest.json|trace.parquet)"


@pytest.mark.parametrize(
    "seeds",
    [
        range(25),
        pytest.param(range(25, 150), marks=pytest.mark.slow),
        pytest.param(range(150, 500), marks=[pytest.mark.slow, pytest.mark.long]),
    ],
    ids=["few", "more", "many"],
)
def test_archives_changed_at_random_are_refused_in_a_sentence_or_hold_sound_records(
    tmp_path: Path, others: tuple[dict[str, RunSpec], bytes], seeds: range
) -> None:
    planned, held = others
    file, results = tmp_path / "one.parquet", tmp_path / "results"
    for seed in seeds:
        message, contents = "", dict[str, Contents]()
        file.write_bytes(mutated(held, seed))
        try:
            contents = archive.archived_contents(file, planned)
            archive.unpack(file, "tiny", planned, results)
        except StoreError as error:
            message = str(error)
        assert len(message) < 1500, seed
        assert message.isprintable(), seed
        for key, content in contents.items():
            check_planned(key, content.files, planned[key].config())
        written = files_below(tmp_path)
        assert all(re.fullmatch(RECORD, name) for name in written if name != "one.parquet"), seed
        shutil.rmtree(results, ignore_errors=True)


@pytest.mark.parametrize("stated", [b"", b"0" * 64, b"x", b"PAR1"])
def test_a_digest_that_is_none_is_refused(
    tmp_path: Path, others: tuple[dict[str, RunSpec], bytes], stated: bytes
) -> None:
    import pyarrow.parquet as pq

    planned, held = others
    table = table_of(held)
    pq.write_table(table.replace_schema_metadata({archive.DIGEST: stated}), tmp_path / "one.parquet")
    with pytest.raises(StoreError, match="its contents do not have the sha256 that it states"):
        archive.archived_contents(tmp_path / "one.parquet", planned)


def test_an_archive_of_a_row_many_times_is_refused_by_its_size(
    tmp_path: Path, others: tuple[dict[str, RunSpec], bytes]
) -> None:
    """It took 400 MB before the second row was read."""
    planned, held = others
    file = tmp_path / "one.parquet"
    file.write_bytes(repeated(table_of(held), 200_000))
    assert file.stat().st_size < 100_000
    with pytest.raises(StoreError, match="it expands to [0-9]+ MiB, more than the 64 MiB allowed for a file of 0.0"):
        archive.archived_contents(file, planned)


def test_a_text_of_megabytes_is_no_configuration(tmp_path: Path, others: tuple[dict[str, RunSpec], bytes]) -> None:
    planned, held = others
    rows = table_of(held).to_pylist()
    rows[1]["config"] = "[" * 2_000_000
    file = tmp_path / "one.parquet"
    file.write_bytes(with_rows(held, rows))
    with pytest.raises(StoreError, match="run 2 of 4 is damaged: config must have at most 1048576 characters"):
        archive.archived_contents(file, planned)


@pytest.mark.parametrize("field", ["task", "name"])
def test_a_name_in_an_archive_is_no_path(tmp_path: Path, others: tuple[dict[str, RunSpec], bytes], field: str) -> None:
    planned, held = others
    rows = table_of(held).to_pylist()
    config, result = json.loads(rows[0]["config"]), json.loads(rows[0]["result"])
    (config if field == "task" else config["method"])[field] = "/../../../x"
    result["task" if field == "task" else "method"] = "/../../../x"
    rows[0] |= {"config": json.dumps(config), "result": json.dumps(result)}
    file = tmp_path / "one.parquet"
    file.write_bytes(with_rows(held, rows))
    with pytest.raises(StoreError, match=f"{field} must be text of at most 100 letters"):
        archive.unpack(file, "tiny", planned, tmp_path / "results")
    assert files_below(tmp_path) == ["one.parquet"]


def test_an_archive_is_unpacked_in_the_results_alone(made: tuple[Study, Path, Path], tmp_path: Path) -> None:
    study, _, file = made
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "archives").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    planned = {spec.key(): spec for spec in specs(study).values()}
    with pytest.raises(StoreError, match="must lie in the results folder, but is a link out of it"):
        archive.unpack(file, study.name, planned, tmp_path / "results")
    assert not list((tmp_path / "elsewhere").iterdir())
