"""`target` and `race_peer`, on a small task and against a stand-in for the peer; which folders are the peer."""

from __future__ import annotations

import textwrap
from itertools import count
from pathlib import Path

import pytest

from benchmarks import race_peer, target
from benchmarks.runner import Options
from benchmarks.training import Outcome
from hfbench.errors import ConfigError

PEER = """
import torch

class HessianFree(torch.optim.SGD):
    "Gradient descent that asks for the objective, counts, and does not get far."

    def __init__(self, params, damping):
        super().__init__(params, lr=1e-9)
        self.param_groups[0]["damping"] = damping
        self.state["num_cg_iters"] = []

    def step(self, forward, M_func=None):
        self.zero_grad()
        forward()[0].backward()
        for p in self.param_groups[0]["params"]:
            p.grad = p.grad if M_func is None else M_func(p.grad)
        super().step()
        self.state["num_cg_iters"].append(3)
"""
PRECONDITIONERS = """
def diag_EF_backpack(model, loss, inputs, targets, reduction):
    assert reduction == "sum"
    return 7.0 * len(inputs)

def diag_to_preconditioner(diagonal, damping):
    assert diagonal == 7.0
    return lambda v: v / (diagonal + damping)
"""


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """A folder with modules and names like the peer's."""
    package = tmp_path / "clone" / "hessianfree"
    package.mkdir(parents=True)
    for name, source in {"__init__": "", "optimizer": PEER, "preconditioners": PRECONDITIONERS}.items():
        (package / f"{name}.py").write_text(textwrap.dedent(source))
    return package.parent


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generated task of its own for a race of a few steps."""
    for module in (target, race_peer):
        monkeypatch.setattr(module, "TASK", "curves-small")
        monkeypatch.setattr(module, "CASES", 200)
        monkeypatch.setattr(module, "QUICK_TARGET", 25.0)
    monkeypatch.setattr(race_peer, "LIMIT", 2.0)
    ticks = count(0.0, 0.05)  # a step takes one, however busy the machine
    monkeypatch.setattr(race_peer, "clock", lambda threads: lambda: next(ticks))


@pytest.mark.usefixtures("_small")
def test_target_is_reached() -> None:
    (row,) = target.rows(Options(quick=True))
    assert row.keys() == target.COLUMNS.keys()
    assert row["reached"] == "yes"
    assert float(row["products"] or 0) > 0


@pytest.mark.usefixtures("_small")
def test_the_race_has_a_row_for_each_side(peer: Path) -> None:
    found = {row["side"]: row for row in race_peer.rows(Options(quick=True, peer=peer))}
    assert {"hfbench", "hfbench, kfac", "PyTorchHessianFree", "its defect mended"} <= found.keys()
    assert "ratio" not in found["hfbench"]
    assert found["hfbench, kfac"]["reached"] == "1/1"
    assert int(found["hfbench"]["inner"] or 0) > 0
    theirs = found["PyTorchHessianFree"]
    assert theirs["reached"] == "0/1"
    assert float(theirs["seconds"] or 0) >= 2.0
    assert theirs["inner"] == 3 * int(theirs["steps"] or 0)


@pytest.mark.usefixtures("_small")
def test_without_the_peer_its_row_says_how_to_give_it() -> None:
    found = {row["side"]: row for row in race_peer.rows(Options(quick=True))}
    assert found["PyTorchHessianFree"]["note"] == "give --peer PATH"


def test_ratios_are_within_seeds() -> None:
    ours, theirs = [2.0, 4.0, 8.0], [6.0, 20.0, 16.0]
    runs, base = ([(Outcome(t, 5, 12.0, t < 20), 40) for t in side] for side in (theirs, ours))
    row = race_peer.summary(runs, base)
    assert row == {"reached": "2/3", "seconds": 16.0, "steps": 5, "inner": 40, "ratio": 3.0, "least": 2.0}


def test_each_side_is_taken_at_the_lambda_that_suits_it() -> None:
    slow, fast = ([(Outcome(t, 5, 12.0, True), 40)] for t in (9.0, 3.0))
    races = {45.0: {"a": slow, "b": fast}, 1.0: {"a": fast, "b": slow}}
    assert race_peer.better(races, "a") is fast
    assert race_peer.better(races, "b") is fast


# ---------------------------------------------------------------- which folders are the peer


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("optimizer", "import backpack_of_nowhere", "it needs backpack-for-pytorch: pip install"),
        ("optimizer", "Optimiser = 1", "in working order, but: .*HessianFree"),
        ("preconditioners", "", "in working order, but: .*diag_EF_backpack"),
    ],
)
def test_a_peer_that_cannot_run_says_why(peer: Path, name: str, source: str, says: str) -> None:
    (peer / "hessianfree" / f"{name}.py").write_text(source)
    with pytest.raises(ConfigError, match=says):
        race_peer.check_options(Options(peer=peer))


@pytest.mark.parametrize("where", [".", "nowhere", "clone/hessianfree"])
def test_another_folder_is_not_the_peer(peer: Path, tmp_path: Path, where: str) -> None:
    with pytest.raises(
        ConfigError, match="--peer: must be a folder with the source of PyTorchHessianFree, but .* has no"
    ):
        race_peer.check_options(Options(peer=tmp_path / where))
