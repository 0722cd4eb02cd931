"""max_bytes in studies: as it is written, what a run makes of it, and what its trace tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.tiny_study import ON_THE_CLOCK, attempt, interrupt, specs, tiny, trace_of

from hfbench.config.run_spec import RunSpec
from hfbench.errors import ConfigError
from hfbench.records.run_folder import RunFolder

FLOAT64 = ("study.precision=float64", "study.stop_at_target=false")


def rows_of(spec: RunSpec, results: Path) -> pd.DataFrame:
    return pd.read_parquet(RunFolder(results, spec.key()).trace_path)


def limited(folder: Path, share: float) -> tuple[RunSpec, RunSpec, int]:
    """A run that has been made, the same below a share of its predicted memory, and that limit."""
    free = specs(tiny(folder, *FLOAT64))["hf", 0]
    attempt(free, folder)
    limit = int(share * rows_of(free, folder)["predicted_memory"].max())
    return free, specs(tiny(folder, *FLOAT64, f"methods.hf.max_bytes={limit}"))["hf", 0], limit


@pytest.mark.parametrize(("given", "resolved"), [("2MB", 2_000_000), ("1.5MiB", 1_572_864), ("3000000", 3_000_000)])
def test_as_it_is_written(tmp_path: Path, given: str, resolved: int) -> None:
    study = tiny(tmp_path, f"methods.hf.max_bytes={given}")
    assert (study.methods["hf"].max_bytes, study.methods["shf"].max_bytes) == (resolved, None)


@pytest.mark.parametrize("given", ["0", "2 many", "-1"])
def test_what_is_no_number_of_bytes(tmp_path: Path, given: str) -> None:
    with pytest.raises(ConfigError, match=r"methods\.hf\.max_bytes.*: must"):
        tiny(tmp_path, f"methods.hf.max_bytes={given}")


def test_a_run_below_a_limit_is_the_same_run(tmp_path: Path) -> None:
    free, spec, limit = limited(tmp_path, 0.9)
    result = attempt(spec, tmp_path)
    rows, expected = rows_of(spec, tmp_path), rows_of(free, tmp_path)
    assert (rows["predicted_memory"][1:] <= limit).all()
    assert rows["work"].iloc[-1] > expected["work"].iloc[-1], "it was streamed"
    unlike = [*ON_THE_CLOCK, "work", "predicted_memory", "cases_gradient", "cases_curvature"]
    pd.testing.assert_frame_equal(rows.drop(columns=unlike), expected.drop(columns=unlike), rtol=1e-7)
    assert result["final_objective"] == pytest.approx(attempt(free, tmp_path)["final_objective"], rel=1e-9)


@pytest.mark.slow
def test_it_goes_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, spec, _ = limited(tmp_path, 0.9)
    attempt(spec, tmp_path / "whole")
    interrupt(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        attempt(spec, tmp_path / "parts", checkpoint_every=0.0)
    attempt(spec, tmp_path / "parts", checkpoint_every=0.0)
    pd.testing.assert_frame_equal(
        trace_of(spec, tmp_path / "parts"), trace_of(spec, tmp_path / "whole"), check_exact=True
    )


def test_a_limit_below_one_case_fails_its_run_alone(tmp_path: Path) -> None:
    runs = specs(tiny(tmp_path, "methods.hf.max_bytes=100KB"))
    result = attempt(runs["hf", 0], tmp_path)
    assert result["outcome"] == "failed"
    assert "max_bytes: must be at least" in result["error"]
    assert "is 100 KB: raise it" in result["error"]
    assert attempt(runs["shf", 0], tmp_path)["outcome"] == "reached"


# ---------------------------------------------------------------- as measured


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets peaks")
def test_the_trace_tells_both(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path))["shf", 0]
    attempt(spec, tmp_path)
    rows = rows_of(spec, tmp_path)
    assert rows[["predicted_memory", "step_memory"]][1:].notna().all(axis=None)
    assert rows[["predicted_memory", "step_memory"]].iloc[0].isna().all()
    assert (rows["step_memory"][1:] <= rows["peak_memory"][1:]).all()
    assert (rows["predicted_memory"][1:] > 20_000).all()


FULL = """
import torch
from hfbench import HessianFree, registry
from hfbench.runs.meters import peak_memory
from hfbench.runs.random_streams import generator

task = registry.build("task", {"use": "mnist", "validation": 1})
train = task.load(generator(0, "split")).train
model = task.model(generator(0, "weights"))
settings = {"decay": 1e-5, "rules": [], "max_inner": 1, "max_bytes": "3GB"}
other = HessianFree(model, "logistic", solver="cg", preconditioner="martens", **settings)
planned = other.prepare(train.inputs, train.targets)
optimizer = HessianFree(model, "logistic", solver="lsmr", preconditioner="chapelle-erhan", **settings)
result = optimizer.step(train.inputs, train.targets)
decreased = result.objective_after < result.objective_before
print(len(train), decreased, planned.peak, result.predicted_memory, peak_memory())
"""


@pytest.mark.slow
@pytest.mark.data
def test_a_step_on_all_of_mnist_fits_in_4_gb() -> None:
    """That of another solver is planned alone: `test_memory_rehearsal.py` holds plans against steps."""
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    cases, decreased, planned, predicted, peak = done.stdout.split()
    assert (cases, decreased) == ("59999", "True")
    assert max(int(planned), int(predicted)) <= 3e9
    assert int(peak) <= 4e9
