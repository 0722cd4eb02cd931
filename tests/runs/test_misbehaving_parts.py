"""Parts that misbehave cost their own runs alone: every other method's record is as if they were not there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.tiny_study import TEXT, uses_mlflow

from hfbench.cli import main

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn", "forgotten"), pytest.mark.slow]

# By name: what the solver does at its first system, and what its failed run says.
ACTS: dict[str, tuple[str, str]] = {
    "exits": ("raise SystemExit(0)", "SystemExit: 0"),
    "leaves": ("raise GeneratorExit", "GeneratorExit"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "own_base": ("raise type('Odd', (BaseException,), {})('so')", "Odd: so"),
    "unsaid": ("raise Unsaid", "Unsaid: its message raises RuntimeError"),
    "undecodable": (r"raise ValueError('a\udcff')", r"ValueError: a\udcff"),
    "shallow": ("sys.setrecursionlimit(80); raise ValueError('deep')", "ValueError: deep"),
    "dies": ("os._exit(0)", "ended before the run: it exited with status 0"),
    "crashes": ("signal.raise_signal(signal.SIGSEGV)", "ended before the run: it was ended by signal 11 (SIGSEGV)"),
    "double": ("torch.set_default_dtype(torch.float64)", "changed torch's default dtype from torch.float32 to"),
    "elsewhere": ("os.chdir('/')", "changed the working folder from"),
    "no_gradients": ("torch.set_grad_enabled(False)", "changed torch's gradient mode from True to False"),
    "patched_error": ("runs.run.mean_error = lambda *of: 0.0", "changed hfbench.runs.run.mean_error"),
    "patched_torch": ("torch.ger = None", "changed torch.ger"),
    "patched_clock": ("time.perf_counter = lambda: 0.0", "changed time.perf_counter"),
    "resets": ("system.linearisation.ledger.jvp_calls = 0", "a part cannot set 'jvp_calls' of the ledger"),
    "uncounted": ("system.linearisation.ledger.count('jvp', -10**6)", "but got 'jvp' and -1000000"),
}

PLUGIN = """
import os, signal, sys, time
import torch
from hfbench import registry, runs
import hfbench.runs.run
from hfbench.parts import part
from hfbench.solvers.cg import CG


class Unsaid(Exception):
    def __str__(self):
        raise RuntimeError
"""
SOLVER = """

@part
class {name}(CG):
    "Misbehaves."

    def iterates(self, system, x0, preconditioner):
        {act}
        yield from CG.iterates(self, system, x0, preconditioner)


registry.add("solver", "{name}", {name})
"""
METHOD = """
[methods.{name}]
solver = "{name}"
preconditioner = "martens"
scheduler = "fixed"
"""


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the console script in this process, its runs in processes of their own: (status, stdout)."""
    monkeypatch.setenv("COLUMNS", "300")

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["hfbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main.main()
        return caught.value.code if isinstance(caught.value.code, int) else 0, capsys.readouterr().out

    return call


def traces(results: Path) -> dict[str, pd.DataFrame]:
    """What is the same at every repetition, by method, task and seed, of the runs that did not fail."""
    found = {}
    for folder in (results / "runs").iterdir():
        result = json.loads((folder / "result.json").read_text())
        if result["outcome"] != "failed":
            trace = pd.read_parquet(folder / "trace.parquet")
            columns = [name for name in trace if name != "seconds" and "memory" not in name]
            found[f"{result['method']}/{result['seed']}"] = trace[columns]
    return found


def failures(results: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(file.read_text()) for file in (results / "runs").glob("*/result.json")]
    return {result["method"]: result for result in found if result["outcome"] == "failed"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_costs_its_own_runs_alone(tmp_path: Path, hf: Callable[..., tuple[int, str]], jobs: int) -> None:
    (tmp_path / "tiny.toml").write_text(TEXT.replace("seeds = 2", "seeds = 1"))
    assert hf("run", tmp_path / "tiny.toml", "--jobs", 1, "--results", tmp_path / "alone")[0] == 0
    plugin = PLUGIN + "".join(SOLVER.format(name=name, act=act) for name, (act, _) in ACTS.items())
    (tmp_path / "plugin.py").write_text(plugin)
    methods = "".join(METHOD.format(name=name) for name in ACTS)
    first, second = TEXT.replace("seeds = 2", "seeds = 1").split("[methods.shf]")  # the others are made in between
    (tmp_path / "bad.toml").write_text(f"{first}{methods}\n[methods.shf]{second}")
    options = ("--plugin", tmp_path / "plugin.py", "--jobs", jobs, "--results", tmp_path / "bad")
    status, out = hf("run", tmp_path / "bad.toml", *options)
    assert status == 1
    assert "Traceback" not in out
    failed = failures(tmp_path / "bad")
    assert failed.keys() == ACTS.keys()
    for name, (_, said) in ACTS.items():
        assert said in failed[name]["error"], name
        assert failed[name]["cause"] == "method", name
    alone, beside = traces(tmp_path / "alone"), traces(tmp_path / "bad")
    assert alone.keys() == beside.keys()
    for name, trace in alone.items():
        pd.testing.assert_frame_equal(trace, beside[name], check_exact=True)


def test_a_step_that_does_not_return_is_ended(
    tmp_path: Path, hf: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfbench.execution.processes.BEYOND", (2.0, 1.0))
    act = "time.sleep(600)"
    (tmp_path / "plugin.py").write_text(PLUGIN + SOLVER.format(name="never", act=act))
    text = TEXT.replace("seeds = 2", "seeds = 1").replace("iterations = 6", "iterations = 6, seconds = 1.0")
    (tmp_path / "tiny.toml").write_text(text + METHOD.format(name="never"))
    options = ("--plugin", tmp_path / "plugin.py", "--jobs", 1, "--results", tmp_path / "results")
    status, _ = hf("run", tmp_path / "tiny.toml", *options)
    assert status == 1
    assert failures(tmp_path / "results").keys() == {"never"}
    said = failures(tmp_path / "results")["never"]["error"]
    assert said.startswith("a step did not return: it was ended at ")
    assert said.endswith("on the clock, which has a limit of 1")
