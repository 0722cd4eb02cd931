"""A study of seconds on generated data, parts that misbehave, and results folders with a prepared MLflow store."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
from rich.console import Console

from hfbench.commands.compare import compare_study
from hfbench.commands.run import run_study
from hfbench.config.load import load_study
from hfbench.config.overrides import override
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.parts.hyperparameters import part
from hfbench.records.run_folder import RunFolder
from hfbench.runs import attempt as attempts
from hfbench.runs.run import LiveRun

TEXT = """
[study]
name = "tiny"
question = "Does <LSMR> need less *work*?"
tasks = ["tiny-curves"]
seeds = 2
budget = { iterations = 6 }
baseline = "hf"
targets = { tiny-curves = 60.0 }

[tasks.tiny-curves]
use = "curves-small"
layers = [12, 4]
cases = 200
validation = 50

[methods.hf]
solver = "cg"
preconditioner = "martens"
scheduler = { use = "fixed", gradient = 1.0, curvature = 0.25 }

[methods.shf]
solver = "lsmr"
preconditioner = "chapelle-erhan"
scheduler = { use = "dynamic", start = 0.2 }
"""

MISBEHAVING = """
[methods.%s]
solver = "%s"
preconditioner = "identity"
scheduler = "fixed"
globalization = { backtracking = false, line_search = false, adapt_damping = false }
"""

# An ablation of the tiny study, to be added to its text.
FACTORIAL = """
[ablation]
from = "hf"
to = "shf"
factors = ["solver", "preconditioner", "scheduler"]
"""

# MLflow and SQLAlchemy deprecate each other's ways; that is between them.
uses_mlflow = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

ON_THE_CLOCK = ("seconds", "peak_memory", "step_memory")  # columns no two runs agree on


def tiny(folder: Path, *changes: str, extra: str = "") -> Study:
    """The study, with these values changed in its file, as an editor would."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny.toml"
    raw = tomllib.loads(TEXT + extra)
    for change in changes:
        override(raw, change)
    file.write_text(tomli_w.dumps(raw) if changes else TEXT + extra)
    return load_study(str(file))


def specs(study: Study) -> dict[tuple[str, int], RunSpec]:
    """The runs of a study with one task, by method and seed."""
    return {(spec.method.name, spec.seed): spec for spec in runs_of(study)}


def run_quietly(study: Study, results: Path, jobs: int = 1, **more: Any) -> tuple[int, str]:
    """Exit status and what was printed."""
    screen = io.StringIO()
    status = run_study(study, results, jobs, None, Console(file=screen, width=80), **more)
    return status, screen.getvalue()


def compare_quietly(study: Study, results: Path, *options: str, **more: Any) -> tuple[int, str]:
    """Exit status and what was printed."""
    screen = io.StringIO()
    status = compare_study(study, results, None, Console(file=screen, width=80), options, **more)
    return status, screen.getvalue()


def trace_of(spec: RunSpec, results: Path) -> pd.DataFrame:
    """A run's trace without the columns that depend on the machine's mood."""
    return pd.read_parquet(RunFolder(results, spec.key()).trace_path).drop(columns=list(ON_THE_CLOCK))


def attempt(spec: RunSpec, results: Path, **more: Any) -> dict[str, Any]:
    return attempts.attempt(spec, RunFolder(results, spec.key()), **more)


def interrupt(monkeypatch: pytest.MonkeyPatch, call: int) -> list[int]:
    """Interrupts this process's runs once, at the step of that number; gives the iterations begun, as they come."""
    advance, steps = LiveRun.advance, list[int]()

    def interrupted(self: LiveRun) -> None:
        steps.append(len(self.rows))
        if len(steps) == call:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(LiveRun, "advance", interrupted)
    return steps


def uninterrupted(spec: RunSpec, results: Path) -> pd.DataFrame:
    assert attempt(spec, results)["outcome"] != "failed"
    return trace_of(spec, results)


def mlflow_runs(results: Path, study: str = "tiny") -> list[Any]:
    """Every MLflow run of a study in the store of a results folder, as it is; nothing is opened or mended."""
    from mlflow.tracking import MlflowClient

    from hfbench.tracking.local_store import local_uri

    client = MlflowClient(tracking_uri=local_uri(results))
    return list(client.search_runs([client.get_experiment_by_name(study).experiment_id]))


def results_folder(path: Path) -> Path:
    """A results folder whose MLflow store is a copy of a prepared empty one: a new one takes a second."""
    path.mkdir(parents=True, exist_ok=True)
    shutil.copy(_empty_store(), path / "mlflow.db")
    return path


@cache
def _empty_store() -> Path:
    from hfbench.tracking.local_store import prepare_store

    folder = Path(tempfile.mkdtemp(prefix="hfbench-template-"))
    prepare_store(folder)
    return folder / "mlflow.db"


# ---------------------------------------------------------------- solvers that misbehave


@dataclass(frozen=True)
class State:
    k: int
    x: Any
    q: float = -1.0
    relative_residual: float = 1.0
    products: float = 0.0
    breakdown: None = None


@part
class Explodes:
    """Steps so far that the outputs overflow."""

    def iterates(self, system: Any, x0: Any, preconditioner: Any) -> Iterator[State]:
        yield State(0, system.gradient * 0.0)
        yield State(1, system.gradient * -1e37)


@part
class Raises:
    """Fails as a bug in a plugin does."""

    def iterates(self, system: Any, x0: Any, preconditioner: Any) -> Iterator[State]:
        raise RuntimeError("planted")


@part
class FullDisk:
    """Fails as writing does where there is no room."""

    def iterates(self, system: Any, x0: Any, preconditioner: Any) -> Iterator[State]:
        raise OSError(errno.ENOSPC, "No space left on device")


@part
class Dies:
    """Kills its process, as the kernel does when memory runs out."""

    def iterates(self, system: Any, x0: Any, preconditioner: Any) -> Iterator[State]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield State(0, system.gradient * 0.0)
