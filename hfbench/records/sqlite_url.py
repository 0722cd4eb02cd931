"""SQLite files, the stores of MLflow and Optuna: their URLs as SQLAlchemy reads them, and what may be opened as one."""

from __future__ import annotations

import os
from pathlib import Path

from hfbench.errors import StoreError
from hfbench.regular_files import is_inside

BESIDE = ("", "-wal", "-shm", "-journal")  # what SQLite appends to the names of a database's files
AWAY = "Move it away: the same command writes it anew."
SPECIAL = frozenset("%?{}")  # in a path: SQLAlchemy reads escapes and a query, Optuna a template


def sqlite_url(database: Path) -> str:
    """The URL of a file, whatever its path holds; SQLAlchemy reads the escapes in it since 2.1."""
    path = str(Path(database).absolute())
    if not SPECIAL.intersection(path):
        return f"sqlite:///{path}"
    from sqlalchemy.engine import URL

    # With the driver's name. MLflow would make folders of what follows `sqlite:///`, with the escapes in their names.
    url = URL.create("sqlite+pysqlite", database=path).render_as_string()
    return url.replace("{", "%7B").replace("}", "%7D")


def check_database(database: Path, results: Path) -> None:
    """Raises StoreError if a file of the database is there and is no regular file, or a link out of the results."""
    for path in (database.with_name(database.name + suffix) for suffix in BESIDE):
        if not os.path.lexists(path):
            continue
        if not is_inside(path, results):
            raise StoreError(f"{path} must be a database in the results folder, but is a link out of it. {AWAY}")
        if not path.is_file():
            raise StoreError(f"{path} must be a database, but is no regular file. {AWAY}")
