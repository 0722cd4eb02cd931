"""A real PostgreSQL: two processes, as on two machines, on one sweep; four that write to one MLflow server over it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from support.tiny_study import TEXT, results_folder, uses_mlflow
from support.tiny_sweep import command, environment, runs, study_file, swept, trials

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []


def missing() -> str | None:
    """Why no server can be started here, None where one can."""
    absent = [] if BINARIES else ["PostgreSQL (apt-get install postgresql)"]
    absent += ["psycopg (pip install 'psycopg[binary]')"] if importlib.util.find_spec("psycopg") is None else []
    return f"needs {' and '.join(absent)}" if absent else None


pytestmark = [
    pytest.mark.services,
    uses_mlflow,
    pytest.mark.usefixtures("own_store"),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]


def as_owner(*words: str) -> list[str]:
    """PostgreSQL refuses to be started by root: its own user does."""
    program = [str(BINARIES[-1] / words[0]), *words[1:]]
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *program]
        if os.geteuid() == 0
        else program
    )


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of an empty database on loopback; the server and its files are gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="hfbench-postgres-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    data, quiet = folder / "data", {"check": True, "capture_output": True, "cwd": folder}
    subprocess.run(as_owner("initdb", "-D", str(data), "-U", "sweep", "-A", "trust", "-E", "UTF8"), **quiet)  # type: ignore[call-overload]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    log = str(folder / "log")
    try:
        subprocess.run(as_owner("pg_ctl", "-D", str(data), "-o", options, "-l", log, "-w", "start"), **quiet)  # type: ignore[call-overload]
        yield f"postgresql+psycopg://sweep:secret@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(as_owner("pg_ctl", "-D", str(data), "-m", "immediate", "stop"), check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_two_processes_share_the_trials_of_a_sweep(server: str, tmp_path: Path) -> None:
    file = study_file(tmp_path)
    alone = results_folder(tmp_path / "alone")
    assert swept(file, alone, "--jobs", "1").returncode == 0
    places = [results_folder(tmp_path / name) for name in ("one", "two")]
    both = [
        subprocess.Popen(
            command(file, place, "--jobs", "1", "--storage", server), env=environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for place in places
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    tuned = [{name for name in runs(place) if "/s100" in name} for place in places]
    assert min(map(len, tuned)) >= 4  # each made some
    assert not tuned[0] & tuned[1]  # and none was made twice
    assert tuned[0] | tuned[1] == {name for name in runs(alone) if "/s100" in name}
    for place in places:
        pd.testing.assert_frame_equal(trials(place), trials(alone))


@pytest.mark.slow
def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://sweep:secret@127.0.0.1:1/postgres"
    done = swept(study_file(tmp_path), results_folder(tmp_path / "results"), "--storage", url)
    assert done.returncode == 2
    assert "the Optuna storage postgresql+psycopg://sweep:***@127.0.0.1:1/postgres must be reachable" in done.stderr
    assert "secret" not in done.stderr


# ---------------------------------------------------------------- MLflow


@pytest.fixture
def tracking(server: str, tmp_path: Path) -> Iterator[str]:
    """An MLflow server over a database of its own, which keeps the artifacts too."""
    import psycopg

    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE DATABASE mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = server.rsplit("/", 1)[0] + "/mlflow"
    begun = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts"),
        ],
        env=environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health")
        yield address
    finally:
        os.killpg(begun.pid, signal.SIGKILL)
        begun.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.5)


@pytest.mark.slow
def test_four_processes_write_to_one_server(tracking: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    file = tmp_path / "tiny.toml"
    file.write_text(TEXT)
    words = [sys.executable, "-m", "hfbench.cli.main", "run", str(file), "--jobs", "1"]
    writing = [
        subprocess.Popen(
            [*words, "--seeds", f"{2 * i}-{2 * i + 1}", "--results", str(tmp_path / f"results-{i}")],
            env=environment() | {"MLFLOW_TRACKING_URI": tracking, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(4)
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[0] for process in writing]
    assert [process.returncode for process in writing] == [0] * 4, said
    assert not [text for text in said if "not in MLflow" in text or "View run" in text]
    client = MlflowClient(tracking)
    (experiment,) = [one for one in client.search_experiments() if one.name == "tiny"]
    found = client.search_runs([experiment.experiment_id], max_results=100)
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert (len(parents), len(found)) == (1, 1 + 16)
    assert {run.info.status for run in found} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in found if run not in parents} == {parents[0].info.run_id}
    assert client.list_artifacts(parents[0].info.run_id), "figures and report are on the server"
    shown = client.search_runs([experiment.experiment_id], "tags.in_study = 'yes'")
    seeds = {run.data.params["seed"] for run in shown}
    assert parents[0].data.tags["settings/seeds"] in {f"{2 * i}, {2 * i + 1}" for i in range(4)}
    assert len(seeds) >= 2, "those of the last judgement, and of others that ended at the same moment"
    assert any((tmp_path / "artifacts").rglob("*.png"))
    assert not list(tmp_path.glob("results-*/mlflow.db")), "no store beside it"
