"""Systems looked at by processes of their own: the same rows, a user's parts, and a process that dies."""

from __future__ import annotations

import io
import os
import signal
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support.tiny_study import specs, tiny

from hfbench import registry
from hfbench.commands.probe_solvers import probe_solvers
from hfbench.errors import ConfigError
from hfbench.execution.parallel_map import parallel_map
from hfbench.parts.plugin_files import load_plugin
from hfbench.probe.freeze import frozen_systems
from hfbench.probe.frozen_system import FrozenSystem
from hfbench.probe.solver_on_system import Arm

PLUGIN = """
from hfbench import registry
from hfbench.solvers.cg import CG
from hfbench.parts.hyperparameters import part


@part
class Mine:
    monotone = ("q",)

    def iterates(self, *given):
        return CG().iterates(*given)


registry.add("solver", "mine", Mine)
"""


@cache
def zoo() -> tuple[FrozenSystem, ...]:
    folder = Path(tempfile.mkdtemp(prefix="hfbench-probe-"))
    return tuple(frozen_systems(specs(tiny(folder, "study.stop_at_target=false"))["hf", 0], [2, 3]))


def rows(into: Path, jobs: int, *names: str) -> tuple[pd.DataFrame, str]:
    screen = io.StringIO()
    arms = [Arm(name, "martens") for name in names]
    assert probe_solvers(zoo(), arms, 8, 100, into, Console(file=screen, width=80), jobs=jobs) == 0
    return pd.read_parquet(into / "solvers.parquet"), screen.getvalue()


@pytest.mark.slow
def test_many_processes_find_what_one_does(tmp_path: Path) -> None:
    one, told = rows(tmp_path / "one", 1, "cg", "lsmr")
    two, told_too = rows(tmp_path / "two", 2, "cg", "lsmr")
    assert list(two["system"]) == list(one["system"])
    pd.testing.assert_frame_equal(one, two, rtol=1e-3)
    assert told.replace("/one/", "/two/").splitlines()[0] == told_too.splitlines()[0]


@pytest.mark.slow
def test_a_part_of_ones_own_is_found_by_every_process(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    load_plugin(file)
    try:
        found, _ = rows(tmp_path, 2, "cg", "mine")
    finally:
        registry.forget()
    wide = found.pivot(index=["system", "k"], columns="solver", values="q")
    assert len(wide) == 18
    assert (wide["cg"] == wide["mine"]).all()


@pytest.mark.slow
def test_a_process_that_dies_is_one_sentence() -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(ConfigError, match="a process was killed from outside, and nothing is written"):
        list(parallel_map(die, [(signal.SIGKILL,)] * 2, 2, console))


def die(by: signal.Signals) -> None:
    os.kill(os.getpid(), by)
