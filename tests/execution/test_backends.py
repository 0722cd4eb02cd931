"""A real Dask cluster of two workers, one of which is killed in the middle of a study; addresses that lead nowhere."""

from __future__ import annotations

import io
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from support.dask_clusters import cluster, cluster_of, dask, free_port
from support.tiny_study import TEXT, run_quietly, specs, tiny, trace_of, uses_mlflow

from hfbench import registry
from hfbench.commands.run import run_study
from hfbench.config.load import load_study
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError
from hfbench.execution import backends
from hfbench.execution.backends import Engine, engine_of
from hfbench.execution.pool import run_all
from hfbench.execution.processes import Processes
from hfbench.parts.plugin_files import load_plugin
from hfbench.records.results_folder import ResultsFolder
from hfbench.records.run_folder import RunFolder

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]

# A solver that says in a file which process begins a run, and takes its time.
SLOW = """
import os
import time

from hfbench import registry
from hfbench.solvers.cg import CG
from hfbench.parts.hyperparameters import part


@part
class Slow:
    monotone = ("q",)

    def iterates(self, system, x0, preconditioner):
        if x0 is None:
            with open(os.environ["HFBENCH_TEST_LOG"], "a") as log:
                log.write(f"{os.getpid()} {system.gradient.norm()}\\n")
        for state in CG().iterates(system, x0, preconditioner):
            time.sleep(0.02)
            yield state


registry.add("solver", "slow", Slow)
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HFBENCH_TEST_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def run_on(engine: Engine, study: Study, results: Path) -> tuple[int, str]:
    screen = io.StringIO()
    status = run_study(study, results, engine.capacity, None, Console(file=screen, width=80), engine=engine)
    return status, screen.getvalue()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_run_alone(tmp_path: Path, log: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    text = TEXT.replace('solver = "cg"', 'solver = "slow"').replace('solver = "lsmr"', 'solver = "slow"')
    (tmp_path / "tiny.toml").write_text(text)
    load_plugin(tmp_path / "slow.py")
    try:
        study = load_study(str(tmp_path / "tiny.toml"), overrides=["study.seeds=4"])
        with cluster(tmp_path, 2) as address, dask(address, 2) as engine:
            killed: list[int] = []
            threading.Thread(target=_kill_the_third, args=(log, killed), daemon=True).start()
            status, text = run_on(engine, study, tmp_path / "results")
        assert status == 0, text
        assert len(killed) == 1
        begun = log.read_text().splitlines()
        again = [gradient for gradient, n in Counter(line.split()[1] for line in begun).items() if n > 1]
        assert len(begun) <= 8 + 1
        assert len(again) <= 1, "a run that had finished is not repeated"
        assert all(RunFolder(tmp_path / "results", spec.key()).is_complete() for spec in runs_of(study))
        assert {int(line.split()[0]) for line in begun[5:]} - set(killed), "the other worker went on"
    finally:
        registry.forget()


@pytest.mark.slow
def test_a_scheduler_that_is_killed_costs_one_sentence(tmp_path: Path) -> None:
    study, results = tiny(tmp_path, "study.seeds=20", "study.budget={ iterations = 30 }"), tmp_path / "results"
    with cluster_of(tmp_path, 2) as (address, (scheduler, *_)):
        with dask(address, 2):
            """All workers are there."""
        command = [sys.executable, "-m", "hfbench", "run", study.source, "--results", str(results)]
        options = ["--backend", "dask", "--cluster", address]
        begun = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
        )
        made = _wait_for_a_result(results)
        scheduler.kill()
        said, _ = begun.communicate(timeout=120)
    assert begun.returncode == 2, said
    assert "Traceback" not in said
    assert "distributed" not in said
    (last,) = [line for line in said.splitlines() if line.startswith("hfbench: ")]
    assert "What has come back is recorded, and the same command goes on from there." in last
    assert all(path.exists() for path in made)


@pytest.mark.slow
def test_workers_of_this_machine_that_are_killed_cost_time_alone(tmp_path: Path) -> None:
    study, results = tiny(tmp_path, "study.seeds=3", "study.budget={ iterations = 30 }"), tmp_path / "results"
    pytest.importorskip("distributed")
    command = [sys.executable, "-m", "hfbench", "run", study.source, "--results", str(results)]
    options = ["--backend", "dask", "--jobs", "2"]
    begun = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    )
    _wait_for_a_result(results)
    for worker in psutil.Process(begun.pid).children():
        if "spawn_main" in " ".join(worker.cmdline()):
            worker.kill()
    said, _ = begun.communicate(timeout=240)
    assert begun.returncode == 0, said
    assert "Traceback" not in said
    assert "distributed" not in said
    assert all(RunFolder(results, spec.key()).is_complete() for spec in runs_of(study))


def _wait_for_a_result(results: Path) -> list[Path]:
    """The results there are as soon as there is one."""
    deadline = time.monotonic() + 120
    while not (made := list((results / "runs").glob("*/result.json"))):
        assert time.monotonic() < deadline, "no run has ended"
        time.sleep(0.05)
    return made


def _kill_the_third(log: Path, killed: list[int]) -> None:
    """Kills the worker that begins the third run, a moment later."""
    while not (log.exists() and len(log.read_text().splitlines()) >= 3):
        time.sleep(0.02)
    time.sleep(0.1)
    worker = int(log.read_text().splitlines()[2].split()[0])
    os.kill(worker, signal.SIGKILL)
    killed.append(worker)


@pytest.mark.slow
def test_nothing_watches_a_worker_and_keeps_its_tensors_alive(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with cluster(tmp_path, 1) as address, dask(address, 1) as engine:
        callbacks = engine.submit(lambda: list(distributed.get_worker().periodic_callbacks)).result()
    assert "heartbeat" in callbacks
    assert not [name for name in callbacks if name.startswith("profile")]


@pytest.mark.slow
def test_runs_of_a_cluster_are_those_of_this_machine_and_go_on_from_its_checkpoints(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    run_quietly(study, tmp_path / "here")
    spec = specs(study)["hf", 0]
    begun = RunFolder(tmp_path / "there", spec.key())
    seconds = half_done(spec, begun)
    with cluster(tmp_path, 1) as address, dask(address, 1) as engine:
        status, _ = run_on(engine, study, tmp_path / "there")
    assert status == 0
    for one in runs_of(study):
        assert trace_of(one, tmp_path / "there").equals(trace_of(one, tmp_path / "here"))
    assert not (begun.path / "checkpoint.pt").exists()
    assert [row["seconds"] for row in begun.rows()][: len(seconds)] == seconds


def half_done(spec: RunSpec, folder: RunFolder) -> list[float]:
    """A run as its second step leaves it, and its seconds so far."""
    from hfbench.runs.attempt import single_threaded
    from hfbench.runs.build import load_data as load_data
    from hfbench.runs.run import LiveRun

    folder.create(spec.config())
    with single_threaded():
        live = LiveRun(spec, load_data(spec, None), None)
        live.begin()
        for _ in range(2):
            live.advance()
        folder.save_checkpoint(live.state_dict())
    return [row["seconds"] for row in live.rows]


@pytest.mark.slow
def test_a_method_that_follows_another_has_its_batches_there_too(tmp_path: Path) -> None:
    study = tiny(tmp_path, extra=FOLLOWING)
    with cluster(tmp_path, 1) as address, dask(address, 1) as engine:
        status, text = run_on(engine, study, tmp_path / "results")
    assert status == 0, text
    rows = [trace_of(specs(study)[name, 0], tmp_path / "results") for name in ("shf", "again")]
    assert rows[0]["batch_gradient"].equals(rows[1]["batch_gradient"])


FOLLOWING = """
[methods.again]
solver = "cg"
preconditioner = "martens"
batches_of = "shf"
"""


# ---------------------------------------------------------------- addresses


def test_an_address_where_nothing_is_says_what_starts_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(backends, "ANSWER", 1.0)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(ConfigError, match=f"--cluster {address}: no Dask cluster answers there .* `dask scheduler`"):
        engine_of("dask", address, None)


def test_a_cluster_without_workers_says_how_to_start_one(tmp_path: Path) -> None:
    with cluster(tmp_path, 0) as address:
        deadline = time.monotonic() + 60
        while True:
            with pytest.raises(ConfigError) as refused:
                engine_of("dask", address, None)
            if "no Dask cluster answers" not in str(refused.value) or time.monotonic() > deadline:
                break
        assert f"has no workers; start some with `dask worker {address} --nthreads 1`" in str(refused.value)


@pytest.mark.parametrize(
    ("backend", "cluster", "message"),
    [
        ("dsak", None, r"--backend: must be among processes, dask, but got 'dsak' \(did you mean 'dask'\?\)"),
        ("ray", None, r"--backend: must be among processes, dask, but got 'ray'\.$"),
        ("processes", "tcp://here:1", "--cluster: goes with --backend dask"),
    ],
)
def test_what_is_no_engine_is_refused(backend: str, cluster: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        engine_of(backend, cluster, None)


def test_an_engine_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package distributed; pip install 'hfbench\[dask\]'"):
        engine_of("dask", None, 1)


@pytest.fixture
def log_levels() -> Iterator[None]:
    """Gives every logger its level back."""
    loggers = [logging.getLogger(name) for name in [*logging.root.manager.loggerDict]]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("log_levels")
def test_dask_logs_nothing_below_any_of_its_roots() -> None:
    for name in ("distributed.client", "tornado.application", "asyncio.tasks"):
        logging.getLogger(name).setLevel(logging.ERROR)  # as Dask's own configuration does
    backends._silence()
    for root in backends.LOGGERS:
        logging.getLogger(f"{root}.made.later")
        for name in [*logging.root.manager.loggerDict]:
            if name == root or name.startswith(f"{root}."):
                assert not logging.getLogger(name).isEnabledFor(logging.ERROR), name


class Broken:
    """A cluster whose workers cannot do what they are given."""

    away = True
    capacity = 2

    def prepare(self) -> None: ...

    def submit(self, function: Any, *of: Any, limit: float = math.inf) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(ModuleNotFoundError("No module named 'hfbench'"))
        return future

    def has_died(self, error: BaseException) -> bool:
        return False

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None: ...


def test_a_cluster_that_cannot_make_a_run_is_one_sentence(tmp_path: Path) -> None:
    study, engine = tiny(tmp_path), Broken()
    with pytest.raises(ConfigError, match="No module named 'hfbench'. The cluster could not make this run: its"):
        run_on(engine, study, tmp_path / "results")
    assert engine.stopped


@pytest.mark.slow
def test_processes_are_an_engine_like_the_other(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    spec = specs(study)["hf", 0]
    (result,) = run_all({spec.key(): spec}, ResultsFolder(tmp_path / "results", "tiny"), 2, Processes(2))
    assert result["outcome"] in ("reached", "budget")


# ---------------------------------------------------------------- processes of this machine

BUSY_WORKER = """
import os, time
from hfbench.execution.processes import Processes
engine = Processes(2)
engine.submit(time.sleep, 60)
server = engine.submit(os.getppid).result()
print(server, flush=True)
time.sleep(60)
"""


def test_a_worker_ends_with_a_parent_that_is_killed_whatever_it_does() -> None:
    parent = subprocess.Popen([sys.executable, "-c", BUSY_WORKER], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = psutil.Process(int(parent.stdout.readline()))
    begun = [server, *server.children()]
    assert len(begun) >= 2
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(begun, timeout=10)
    parent.stdout.close()
    for process in alive:
        process.kill()
    assert alive == []


FIRST_WORKER = """
import signal
from hfbench.execution.processes import Processes
from hfbench.interrupts import SIGNALS, signals_deferred
engine = Processes(1)
with signals_deferred():
    future = engine.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ())
assert future.result() >= set(SIGNALS), future.result()
"""


def test_the_first_worker_of_a_process_never_sees_signals() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_WORKER], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# A call that is under way when its cluster is stopped; says what was wrong.
STOPPED_CLUSTER = """
import os, signal, tempfile, time
from pathlib import Path
from hfbench.execution.backends import engine_of, folder_of_worker
from hfbench.interrupts import SIGNALS

def hold():
    with tempfile.TemporaryDirectory(prefix="hfbench-run-", dir=folder_of_worker()):
        time.sleep(60)

def left():
    return list(Path(os.environ["TMPDIR"]).rglob("hfbench-run-*"))

if __name__ == "__main__":
    engine = engine_of("dask", None, 1)
    assert engine.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result() >= set(SIGNALS)
    engine.submit(hold)
    while not left():
        time.sleep(0.1)
    engine.stop()
    engine.close()
    assert not left(), left()
"""


@pytest.mark.slow
def test_workers_of_a_local_cluster_see_no_signals_and_leave_nothing(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    program = tmp_path / "program.py"
    program.write_text(STOPPED_CLUSTER)
    env = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, str(program)], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
