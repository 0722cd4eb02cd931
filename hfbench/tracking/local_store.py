"""The MLflow store of a results folder: made whole or not at all, and moved together with its folder.

MLflow makes its tables in some forty steps, and can neither finish nor use what was interrupted in between. Therefore
a store is made under another name and moved into place.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from hfbench.errors import StoreError
from hfbench.messages import quoted
from hfbench.records.files import make_folder
from hfbench.records.sqlite_url import BESIDE, check_database, sqlite_url
from hfbench.regular_files import is_inside

FILE, NEW = "mlflow.db", ".mlflow-new.db"  # in the results folder
ARTIFACTS = "mlflow-artifacts"  # likewise
WHOLE = 1  # `user_version` of a database that was made to the end
LONGEST = 480  # bytes of the path of a results folder: SQLite opens no file whose path, with `-journal`, has over 512


def local_uri(results: Path) -> str:
    return sqlite_url(Path(results) / FILE)


def tracking_uri(results: Path) -> str:
    """MLFLOW_TRACKING_URI where it is set, else the store in the results folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local_uri(results)


def is_behind_server(uri: str) -> bool:
    """Whether an MLflow server, which has pages of its own, keeps the store."""
    return uri.startswith(("http://", "https://"))


def is_remote(uri: str) -> bool:
    """A server decides itself where artifacts go."""
    return not uri.startswith(("sqlite:", "sqlite+pysqlite:", "file:", "/", "."))


def load_mlflow() -> Any:
    """MLflow and its store of SQLite, imported once, which takes a second, and silent."""
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # else two addresses for every run
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # creating a store is not news
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what it raises is said by us
    with contextlib.nullcontext() if "mlflow" in sys.modules else _for_good():
        import mlflow.store.tracking.sqlalchemy_store
        import mlflow.tracking

        return mlflow


@contextlib.contextmanager
def getting_ready(results: Path) -> Iterator[None]:
    """While the block runs, a thread loads MLflow and, for a folder without a store, makes an empty one in memory."""
    thread = threading.Thread(target=_get_ready, args=(results,))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _get_ready(results: Path) -> None:
    with contextlib.suppress(Exception):  # who needs the store is told
        load_mlflow()
        if tracking_uri(results) == local_uri(results) and not has_store(results):
            _empty_store()


def mlflow_client(uri: str) -> Any:
    """The client of the store at an address. Raises as MLflow does."""
    client = load_mlflow().MlflowClient(tracking_uri=uri)
    if (engine := getattr(client._tracking_client.store, "engine", None)) is not None:
        atexit.register(engine.dispose)  # or SQLite leaves its journal beside the file
    return client


@contextlib.contextmanager
def _for_good() -> Iterator[None]:
    """What is made in the block is not searched for garbage, then or later: a library stays.

    MLflow is half a million objects. To search them takes as long as to import it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def mlflow_errors() -> tuple[type[Exception], ...]:
    """What a store may raise: MLflow's exceptions and the database's."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError


def prepare_store(results: Path) -> None:
    """Makes the store of a results folder if there is none, and lets its artifacts be where the folder is now.

    Readers (the UI) and the writer do not wait for each other. The caller holds the store's lock. Raises StoreError if
    the file is no database or cannot be written, or the path is too long.
    """
    database = Path(results).absolute() / FILE
    if (length := len(os.fsencode(database.parent))) > LONGEST:
        raise StoreError(
            f"the path of a results folder must have at most {LONGEST} bytes, or SQLite opens no file in it, but got "
            f"{length}: {database.parent}. Choose another with --results."
        )
    with _usable(database):
        if not has_store(results):
            _make(database)
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # stays with the file
    take_home(results)


def has_store(results: Path) -> bool:
    """Whether there is a store; none is one that an earlier version was interrupted in making, and that holds nothing.

    Raises StoreError if the file is no database.
    """
    database = Path(results).absolute() / FILE
    if not database.exists():
        return False
    with _usable(database), contextlib.closing(sqlite3.connect(database)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return version == WHOLE or _holds_something(connection)


def _holds_something(connection: sqlite3.Connection) -> bool:
    """Whether any table has a row that is not MLflow's own."""
    tables = [str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    own = {"alembic_version": "0", "experiments": "experiment_id <> 0"}
    queries = (f'SELECT 1 FROM "{name}" WHERE {own.get(name, "1")} LIMIT 1' for name in tables)
    return any(connection.execute(query).fetchone() for query in queries)


@cache
def _empty_store() -> bytes:
    """The database of a store with MLflow's own experiment, hidden, and nothing else; it takes a second to make."""
    with tempfile.TemporaryDirectory(prefix="hfbench-store-") as folder:
        database = Path(folder, FILE)
        store = load_mlflow().store.tracking.sqlalchemy_store.SqlAlchemyStore(sqlite_url(database), folder)
        store.delete_experiment("0")  # it can be restored
        store.engine.dispose()
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute(f"PRAGMA user_version={WHOLE}")
        return database.read_bytes()


def _make(database: Path) -> None:
    """Makes a new store in place of what is there."""
    new = database.with_name(NEW)
    _remove(new)  # of a start that was killed
    try:
        new.write_bytes(_empty_store())
        with contextlib.closing(sqlite3.connect(new)) as connection, connection:
            artifacts = f"{(database.parent / ARTIFACTS).as_uri()}/0"
            connection.execute("UPDATE experiments SET artifact_location = ?", (artifacts,))
        _remove(database)  # a journal left beside it would be taken for the new one's
        os.replace(new, database)
    finally:
        _remove(new)


def _remove(database: Path) -> None:
    for suffix in reversed(BESIDE):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def take_home(results: Path) -> None:
    """Lets the artifacts of the store be looked for and written in its own folder, wherever that was moved or copied.

    MLflow stores absolute paths. Raises StoreError if the database cannot be written.
    """
    database = Path(results).absolute() / FILE
    with _usable(database), contextlib.closing(sqlite3.connect(database, timeout=20.0)) as connection:
        rows = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
        for experiment, name, location in rows:
            home = artifacts_uri(results, name)
            if str(location).endswith(f"/{ARTIFACTS}/{name}") and location != home:
                with connection:
                    _move_experiment(connection, experiment, f"/{ARTIFACTS}/{name}", home)


def _move_experiment(connection: sqlite3.Connection, experiment: int, below: str, home: str) -> None:
    """Changes the location of an experiment and of those of its runs that have theirs below it."""
    connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (home, experiment))
    tail = "'/' || run_uuid || '/artifacts'"
    connection.execute(
        f"UPDATE runs SET artifact_uri = ? || {tail} WHERE experiment_id = ? "
        f"AND substr(artifact_uri, -length(? || {tail})) = ? || {tail}",
        (home, experiment, below, below),
    )


def artifacts_uri(results: Path, study: str) -> str:
    """Where the artifacts of a study are."""
    return (Path(results).absolute() / ARTIFACTS / study).as_uri()


def make_artifacts_folder(results: Path, study: str) -> str:
    make_folder(Path(results).absolute() / ARTIFACTS / study, results)
    return artifacts_uri(results, study)


def check_artifacts(uri: str, results: Path) -> None:
    """Raises StoreError if what is written to this address, as a store has it, would lie outside the results folder."""
    address = urlsplit(uri)
    if address.scheme not in ("", "file") or not is_inside(Path(url2pathname(address.path)), results):
        raise StoreError(
            f"the MLflow store of {results} must have its artifacts in that folder, but has them at {quoted(uri)}. "
            f"Move {FILE} and {ARTIFACTS} away: `hfbench compare` writes them anew from the recorded runs."
        )


@contextlib.contextmanager
def _usable(database: Path) -> Iterator[None]:
    """Says of a database that cannot be read or written what to do; one that is no regular file is not opened."""
    check_database(database, database.parent)
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # of SQLite, SQLAlchemy, MLflow or the system
        raise StoreError(
            f"{database} must be a writable sqlite database, but: {database_message(error)}. Free the disk, or move "
            "the file away: `hfbench run` and `hfbench compare` write it anew from the recorded runs."
        ) from error


def database_message(error: Exception) -> str:
    """What a database or MLflow says, without the statement that failed."""
    origins = (getattr(raised, "orig", None) for raised in (error, error.__cause__))
    said = str(next(filter(None, origins), error)).strip().splitlines()
    return (said[0] if said else type(error).__name__).rstrip(".")
