"""URLs of SQLite files, as SQLAlchemy reads them: for the stores of MLflow and Optuna."""

from __future__ import annotations

from pathlib import Path

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
