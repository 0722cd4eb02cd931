"""How often an inner iteration goes through memory the size of the parameters, the products' own passes aside.

On large networks the vector algebra of a step is as fast as memory is, so that this is its cost.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hfbench.curvature.linearisation import Linearisation
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.parts.protocols import InnerSolver
from hfbench.solvers.cg import CG
from hfbench.solvers.lsmr import LSMR
from hfbench.solvers.lsqr import LSQR
from hfbench.solvers.minres import MINRES
from hfbench.solvers.preconditioners.diagonal import Diagonal

VIEWS = ("view", "detach", "split", "alias", "as_strided", "slice", "empty")


class Traffic(TorchDispatchMode):
    """Adds up the entries that operations read and write, and those of the tensors that are new."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = self.made = 0
        self.muted = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if not self.muted and not any(view in str(func) for view in VIEWS):
            given, returned = entries(args), entries((answer,)) or entries(args[:1])  # in place on lists: no answer
            self.moved += sum(given.values()) + sum(returned.values())
            self.made += sum(size for place, size in returned.items() if place not in given | entries(kwargs or {}))
        return answer


def entries(given: Any) -> dict[int, int]:
    """The sizes of the tensors in nested sequences, by where their memory is."""
    found: dict[int, int] = {}
    for one in given.values() if isinstance(given, dict) else given:
        if isinstance(one, Tensor):
            found[one.data_ptr()] = one.numel()
        elif isinstance(one, list | tuple):
            found |= entries(one)
    return found


def traffic(solver: InnerSolver, monkeypatch: pytest.MonkeyPatch, layout: str = "structured") -> tuple[float, float]:
    """Entries moved and entries made by one iteration, over the parameters'."""
    model = network((60, 40, 2), 0)
    x, t = inputs_for(16, 60, 1), targets_for("logistic", 16, 2, 2)
    at = Linearisation(model, "logistic", x, t, layout=layout)
    mode = Traffic()
    for name in ("gauss_newton", "jvp", "vjp"):
        monkeypatch.setattr(at, name, muted(getattr(at, name), mode))
    mu = (1e-2, 0.0, 1e-2, 0.0)
    system = GaussNewtonSystem(at, at.gradient, 0.1, mu, shares_cases=True)
    M = Diagonal(at.layout.pack([torch.ones_like(b) for b in at.blocks]), system.shift, 0.75)
    found = []
    for iterations in (3, 3, 7):  # the first makes what is made once
        mode.moved = mode.made = 0
        with mode:
            for state in islice(solver.iterates(system, None, M), iterations + 1):
                assert state.q <= 0  # as a rule reads it; x is not asked for
        found.append((mode.moved, mode.made))
    P = at.parameters.numel()
    return tuple((late - early) / (4 * P) for early, late in zip(*found[1:], strict=True))  # type: ignore[return-value]


def muted(call: Any, mode: Traffic) -> Any:
    def wrapper(*args: Any) -> Any:
        mode.muted = True
        try:
            return call(*args)
        finally:
            mode.muted = False

    return wrapper


CASES = [(CG(), 21, 2, 22, 3), (LSQR(), 29, 3, 31, 5), (LSMR(), 32, 3, 34, 5), (MINRES(), 31, 4, 32, 5)]


@pytest.mark.parametrize(("solver", "structured", "structured_made", "flat", "flat_made"), CASES)
def test_an_iteration_moves_no_more_than_its_recurrences(
    solver: InnerSolver,
    structured: int,
    structured_made: int,
    flat: int,
    flat_made: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CG: A's shift 3, x 3, r 3, M 3, p 5, two dot products 4; new are x and y. The rest are outputs and sums."""
    for layout, moved, made in (("structured", structured, structured_made), ("flat", flat, flat_made)):
        with monkeypatch.context() as patch:
            found = traffic(solver, patch, layout)
        assert moved - 0.1 <= found[0] <= moved + 0.3, "less is better: lower the number; else it counts amiss"
        assert found[1] <= made + 0.1
