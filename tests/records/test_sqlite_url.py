"""URLs of SQLite files lead to the very file, whatever its path holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from support.misplaced_files import MISPLACED

from hfbench.errors import StoreError
from hfbench.records.sqlite_url import check_database, sqlite_url

AWKWARD = (
    "plain",
    "with space",
    "50% done",
    "feature%2Fmain",
    "what?",
    "a#b",
    "a'b",
    'a"b',
    "ü €",
    "~x",
    "{a}",
    "a+b&c=d;e@f:g",
)


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_the_path_is_read_back(name: str) -> None:
    path = f"/results/{name}/mlflow.db"
    assert make_url(sqlite_url(Path(path)).format()).database == str(Path(path).absolute())


@pytest.mark.parametrize("name", AWKWARD)
def test_the_file_is_where_it_is_said_to_be(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    engine = create_engine(sqlite_url(tmp_path / name / "a.db"))
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE t (a)"))
    engine.dispose()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [f"{name}/a.db"]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link out"])
def test_only_regular_files_of_the_results_are_opened(tmp_path: Path, suffix: str, kind: str) -> None:
    results = tmp_path / "results"
    results.mkdir()
    check_database(results / "a.db", results)
    MISPLACED[kind](results / f"a.db{suffix}")
    reason = "is no regular file" if kind == "pipe" else "is a link out of it"
    with pytest.raises(StoreError, match=f"a.db{suffix} must be a database.* {reason}. Move it away"):
        check_database(results / "a.db", results)
