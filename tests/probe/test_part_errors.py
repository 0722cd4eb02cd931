"""Errors of parts in probes: the part and its failing call are named, never the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.frozen import frozen, judge
from support.plugin_files import fresh

from hfbench.errors import HfbenchError, StoreError
from hfbench.parts.plugin_files import load_plugin
from hfbench.probe import solver_on_system
from hfbench.probe.preconditioner_on_system import Variant, conditioned
from hfbench.probe.solver_on_system import Arm, solve_and_judge

pytestmark = pytest.mark.usefixtures("forgotten")

PLUGIN = """
from hfbench import registry
from hfbench.parts import part
from hfbench.solvers.cg import CG
from hfbench.solvers.preconditioners.identity import Unit


class Run:
    average = None

    def build(self, linearisation, shift, generator):
        return Unit()

    def state_dict(self):
        return {"average": self.average}

    def load_state_dict(self, state):
        self.average = state["average"]


class Lame(Unit):
    def solve(self, v):
        return v / None


@part
class Ema:
    "As many write it: an empty state is a KeyError."
    cases = "gradient"

    def begin(self, model):
        return Run()

    def build(self, linearisation, shift, generator):
        return Unit()


@part
class Divides:
    "Fails when it is applied."
    cases = "gradient"

    def build(self, linearisation, shift, generator):
        return Lame()


@part
class Stumbles:
    "Fails at its second step."

    def iterates(self, system, x0, preconditioner):
        cg = CG().iterates(system, x0, preconditioner)
        yield next(cg)
        raise IndexError("no such vector")


registry.add("preconditioner", "ema", Ema)
registry.add("preconditioner", "divides", Divides)
registry.add("solver", "stumbles", Stumbles)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "acme_parts.py"
    file.write_text(PLUGIN)
    fresh()
    return load_plugin(file)


def place(plugin: Path, line: str) -> str:
    return f"({plugin}:{1 + PLUGIN.splitlines().index(line)})"


@pytest.mark.parametrize(
    ("arm", "said", "line", "check"),
    [
        (
            *(Arm("cg", "ema"), "preconditioner ema: Run.load_state_dict raised KeyError: 'average' "),
            *('        self.average = state["average"]', "ema"),
        ),
        (
            *(Arm("cg", "divides"), "preconditioner divides: Lame.solve raised TypeError: "),
            *("        return v / None", "divides"),
        ),
        (
            *(Arm("stumbles", "identity"), "solver stumbles: Stumbles.iterates raised IndexError: no such vector "),
            *('        raise IndexError("no such vector")', "stumbles"),
        ),
    ],
)
def test_a_part_that_fails_is_named_with_its_call(plugin: Path, arm: Arm, said: str, line: str, check: str) -> None:
    with pytest.raises(HfbenchError) as caught:
        solve_and_judge(frozen(), judge(), arm, 5)
    assert str(caught.value).startswith(said)
    assert str(caught.value).endswith(f"{place(plugin, line)}; `hfbench check {check}` tests all that it must do.")
    assert not isinstance(caught.value, StoreError)
    assert "model" not in str(caught.value)


def test_so_is_one_that_fails_in_a_probe_of_preconditioners(plugin: Path) -> None:
    with pytest.raises(HfbenchError, match=r"^preconditioner divides: Lame\.solve raised TypeError: "):
        conditioned(judge(), Variant((("use", "divides"),)), judge().opened, "cg", 5)


def test_all_parts_of_the_guilty_file_are_named(plugin: Path) -> None:
    with pytest.raises(HfbenchError) as caught:
        solve_and_judge(frozen(), judge(), Arm("stumbles", "divides"), 5)
    assert str(caught.value).startswith("solver stumbles or preconditioner divides: Lame.solve raised TypeError: ")
    assert "`hfbench check stumbles divides`" in str(caught.value)


def test_an_exception_of_shipped_code_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver_on_system, "solve", abs)
    with pytest.raises(TypeError, match="abs"):
        solve_and_judge(frozen(), judge(), Arm("cg", "identity"), 5)
