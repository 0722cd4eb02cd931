"""`hfbench probe solvers`: its tables, what it writes, and what it says where every solver refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support.frozen import frozen

from hfbench.commands.probe_solvers import probe_solvers
from hfbench.errors import ConfigError
from hfbench.probe.solver_on_system import Arm


def probed(into: Path, *arms: Arm, width: int = 80) -> str:
    screen = io.StringIO()
    status = probe_solvers([frozen(), frozen().damped(0.01)], arms, 30, 300, into, Console(file=screen, width=width))
    assert status == 0
    return screen.getvalue()


@pytest.mark.slow
def test_a_probe_prints_tables_of_80_columns_and_writes_what_it_found(tmp_path: Path) -> None:
    text = probed(tmp_path, Arm("cg", "chapelle-erhan"), Arm("lsmr", "chapelle-erhan"), Arm("dense", "identity"))
    lines = text.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("skipped", "exact", str(tmp_path)))) <= 80
    assert "skipped: dense identity: most: the dense solver takes at most 2000 parameters" in text
    assert "lsmr chapelle-erhan over cg chapelle-erhan" in text
    rows = pd.read_parquet(tmp_path / "solvers.parquet")
    assert set(rows["solver"]) == {"cg", "lsmr"}
    assert rows["change_train"].notna().all()
    told = json.loads((tmp_path / "solvers.json").read_text())
    assert set(told["systems"]) == {"hf-tiny-curves-s0-i3", "hf-tiny-curves-s0-i3-lambda-x0.01"}
    assert (tmp_path / "solvers-hf-tiny-curves-s0-i3.png").stat().st_size > 10_000
    assert (tmp_path / "duels.png").stat().st_size > 5_000


def test_if_every_solver_refuses_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no solver took any of the systems"):
        probed(tmp_path, Arm("dense", "identity"))
