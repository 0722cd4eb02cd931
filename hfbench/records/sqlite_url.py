"""URLs of SQLite files, as SQLAlchemy reads them: for the stores of MLflow and Optuna."""

from __future__ import annotations

from pathlib import Path

from hfbench.errors import StoreError

SPECIAL = frozenset("%?{}")  # in a path: SQLAlchemy reads escapes and a query, Optuna a template


def sqlite_url(database: Path) -> str:
    """The URL of a file, whatever its path holds. Raises StoreError where this SQLAlchemy has none for it."""
    path = str(Path(database).absolute())
    if not SPECIAL.intersection(path):
        return f"sqlite:///{path}"
    from sqlalchemy.engine import URL, make_url

    # With the driver's name. MLflow would make folders of what follows `sqlite:///`, with the escapes in their names.
    url = URL.create("sqlite+pysqlite", database=path).render_as_string().replace("{", "%7B").replace("}", "%7D")
    if make_url(url).database != path:
        raise StoreError(f"the path of a results folder must hold none of % ? {{ }} with SQLAlchemy < 2.1, but: {path}")
    return url
