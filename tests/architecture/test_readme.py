"""The README's Python blocks run, and print what it says they print."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.systems import blocks, dense_system, flat

from hfbench import registry
from hfbench.config.load import load_study
from hfbench.inner_solve.solve import solve
from hfbench.parts.protocols import Breakdown
from hfbench.solvers.preconditioners.identity import Unit
from hfbench.solvers.stopping import Residual

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def test_python_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    position = next(i for i, (kind, text) in enumerate(BLOCKS) if kind == "python" and "HessianFree" in text)
    with torch.random.fork_rng():
        exec(BLOCKS[position][1], {})
    kind, expected = BLOCKS[position + 1]
    assert kind == ""
    assert capsys.readouterr().out == expected


@pytest.fixture
def steepest() -> Iterator[Any]:
    """The solver of the README."""
    source = next(text for kind, text in BLOCKS if kind == "python" and "SteepestDescent" in text)
    module = types.ModuleType("readme")
    sys.modules["readme"] = module
    try:
        exec(source, module.__dict__)
        with registry.temporary("solver", "steepest", module.__dict__["SteepestDescent"]):
            yield registry.build("solver", "steepest")
    finally:
        del sys.modules["readme"]


def test_solver_example_is_a_solver(steepest: Any) -> None:
    """The twenty lines solve what CG solves, and q never rises."""
    system = dense_system("tall", 3.0, 0.05)
    seen: list[Any] = []
    last = solve(steepest, system, None, Unit(), [Residual(rtol=1e-10)], [seen.append]).last
    assert last.k > 3
    assert flat(last.x) == pytest.approx(system.solution(), rel=1e-6)
    assert last.q == pytest.approx(system.q(system.solution()), rel=1e-8)
    assert steepest.monotone == ("q",)
    assert all(after.q <= before.q + 1e-12 * abs(before.q) for before, after in pairwise(seen))


def test_solver_example_knows_where_it_ends(steepest: Any) -> None:
    system = dense_system("tall", 3.0, 0.05)
    system.b = 0 * system.b
    (state,) = steepest.iterates(system, blocks(np.ones(42)), Unit())
    assert (state.breakdown, state.q, state.products) == (Breakdown.ZERO_RIGHT_HAND_SIDE, 0.0, 0)
    assert not flat(state.x).any()
    system = dense_system("tall", 3.0, 0.05)
    system.multiply = lambda v: v * -1.0  # type: ignore[method-assign]
    first, last = steepest.iterates(system, None, Unit())
    assert (first.breakdown, last.breakdown) == (None, Breakdown.NONPOSITIVE_CURVATURE)
    assert (last.k, last.products) == (1, 2)
    assert flat(last.x) == pytest.approx(flat(first.x))


def test_study_example_is_a_study(tmp_path: Path) -> None:
    text = next(text for kind, text in BLOCKS if kind == "toml" and "[study]" in text)
    path = tmp_path / "study.toml"
    path.write_text(text)
    study = load_study(str(path))
    assert set(study.methods) == {"cg", "lsmr"}
    assert len(study.seeds) == 10


def test_every_built_in_part_is_in_the_table() -> None:
    for family in registry.FAMILIES:
        for name in registry.names(family):
            assert f"`{name}`" in README, f"{family} {name}"
