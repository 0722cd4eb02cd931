"""Minimisation over a subspace: the dense minimiser over the span, CG's iterates, and directions that add nothing."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.systems import flat, inputs_for, network, targets_for
from torch import Tensor

from hfbench.curvature.linearisation import Linearisation
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import Breakdown
from hfbench.solvers.cg import CG
from hfbench.solvers.dense import dense_matrix
from hfbench.solvers.preconditioners.identity import Unit
from hfbench.solvers.subspace import Subspace

SPLITS = ["none", "layers", "parameters"]


def system_of(
    sizes: tuple[int, ...] = (5, 4, 3), layout: str = "structured", loss: str = "logistic", seed: int = 0
) -> GaussNewtonSystem:
    """A system with decay of the weights, whose gradient is of other cases than its curvature."""
    model, losses = network(sizes, seed), {"gradient": 9, "curvature": 7}
    at = {
        name: Linearisation(
            model, loss, inputs_for(n, sizes[0], seed + n), targets_for(loss, n, sizes[-1], seed + n + 1), layout=layout
        )
        for name, n in losses.items()
    }
    mu_D = tuple(0.01 * (block.dim() > 1) for block in at["curvature"].blocks)
    return GaussNewtonSystem(at["curvature"], at["gradient"].gradient, 0.1, mu_D, shares_cases=False)


def drawn(system: GaussNewtonSystem, seed: int) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return Vector(torch.randn(block.shape, generator=generator, dtype=block.dtype) for block in system.gradient)


def column(v: Vector) -> Tensor:
    return torch.tensor(flat(v))


class Diagonal:
    """M = diag of positive entries, drawn at random."""

    def __init__(self, system: GaussNewtonSystem) -> None:
        self.m = Vector(block.abs() + 0.1 for block in drawn(system, 5))

    def solve(self, v: Vector) -> Vector:
        return Vector(a / b for a, b in zip(v, self.m, strict=True))

    solve_factor = solve_factor_t = solve


def parts(v: Vector, split: str, system: GaussNewtonSystem) -> list[Tensor]:
    """The parts as columns, cut by hand."""
    blocks = system.linearisation.layout.unpack(v)
    pairs = [(i, i + 1) for i in range(0, len(blocks), 2)]  # weight and bias of every layer
    groups = {"none": [tuple(range(len(blocks)))], "layers": pairs, "parameters": [(i,) for i in range(len(blocks))]}
    return [
        torch.cat([(b if i in group else 0 * b).reshape(-1) for i, b in enumerate(blocks)]) for group in groups[split]
    ]


def least(A: Tensor, b: Tensor, V: Tensor) -> tuple[Tensor, float]:
    """The minimiser of q over the span of the columns, by least squares, and q there."""
    K, s = V.T @ A @ V, V.T @ b
    c = torch.linalg.lstsq(K, s[:, None], driver="gelsd").solution[:, 0]
    return V @ c, float(-s @ c + 0.5 * c @ K @ c)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.sampled_from(SPLITS),
    st.sampled_from(["structured", "flat"]),
    st.sampled_from(["least-squares", "logistic"]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_one_step_is_the_dense_minimiser_over_the_span(
    sizes: list[int], split: str, layout: str, loss: str, warm: bool, seed: int
) -> None:
    system = system_of(tuple(sizes), layout, loss, seed)
    M, x0 = Diagonal(system), drawn(system, seed + 7) if warm else None
    A, b = dense_matrix(system), -column(system.gradient)
    directions = [M.solve(-system.gradient), *([x0] if x0 is not None else [])]
    x, q = least(A, b, torch.stack([one for v in directions for one in parts(v, split, system)], 1))
    start, first = islice(Subspace(split=split, ridge=0.0).iterates(system, x0, M), 2)
    assert first.q == pytest.approx(q, rel=1e-9, abs=1e-13)
    torch.testing.assert_close(column(first.x), x, atol=1e-8, rtol=1e-7)
    true = float(-b @ column(first.x) + 0.5 * column(first.x) @ A @ column(first.x))
    assert true == pytest.approx(q, rel=1e-12, abs=1e-14)
    torch.testing.assert_close(column(first.residual.r), b - A @ column(first.x), atol=1e-10, rtol=1e-9)
    assert first.q <= start.q


def test_whole_vectors_have_the_iterates_of_conjugate_gradients() -> None:
    system = system_of()
    for M in (Unit(), Diagonal(system)):
        ours, theirs = (
            list(islice(one.iterates(system, None, M), 12)) for one in (Subspace(split="none", ridge=0.0), CG())
        )
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(column(a.x), column(b.x), atol=1e-9, rtol=1e-7)
            assert a.q == pytest.approx(b.q, rel=1e-9, abs=1e-14)
            assert a.relative_residual == pytest.approx(b.relative_residual, rel=1e-5, abs=1e-9)


def test_finer_parts_gain_more() -> None:
    system = system_of((6, 5, 4, 3))
    gains = [list(islice(Subspace(split=split, ridge=0.0).iterates(system, None, Unit()), 2))[1].q for split in SPLITS]
    assert gains[2] < gains[1] < gains[0] < 0


@pytest.mark.parametrize("start", ["zero", "parallel", "of one layer"])
@pytest.mark.parametrize("split", SPLITS)
def test_directions_that_add_nothing_are_no_error(start: str, split: str) -> None:
    system = system_of()
    b = -system.gradient
    x0 = {
        "zero": b * 0.0,
        "parallel": b * 3.0,
        "of one layer": Vector(block if i < 2 else 0 * block for i, block in enumerate(b)),
    }[start]
    _, cold = islice(Subspace(split=split, ridge=0.0).iterates(system, None, Unit()), 2)
    _, warm = islice(Subspace(split=split, ridge=0.0).iterates(system, x0, Unit()), 2)
    if start == "of one layer" and split == "none":
        assert warm.q < cold.q
    else:
        assert warm.q == pytest.approx(cold.q, rel=1e-12)


def test_a_gradient_of_zero_is_told() -> None:
    system = system_of()
    system.gradient = system.gradient * 0.0
    (state,) = Subspace().iterates(system, None, Unit())
    assert state.breakdown is Breakdown.ZERO_RIGHT_HAND_SIDE


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 1.0])
def test_a_solution_to_start_from_is_kept(ridge: float) -> None:
    """The ridge acts on the way from the start, which is none."""
    system = system_of()
    x = torch.linalg.solve(dense_matrix(system), -column(system.gradient))
    x0 = Vector(
        piece.view(block.shape)
        for piece, block in zip(x.split([b.numel() for b in system.gradient]), system.gradient, strict=True)
    )
    for state in islice(Subspace(ridge=ridge).iterates(system, x0, Unit()), 3):
        torch.testing.assert_close(column(state.x), x, atol=1e-9, rtol=1e-8)


def test_a_first_step_takes_no_transpose() -> None:
    """A single step from a warm start: tangents of the parts alone."""
    system = system_of()
    before = system.linearisation.ledger.state_dict()
    first = [*islice(Subspace().iterates(system, drawn(system, 7), Unit()), 2)][1]
    done = system.linearisation.ledger.since(before)
    assert (done["vjp"], done["vjp_calls"]) == (0, 0)
    assert first.products == done["jvp_calls"] / 2
    assert first.relative_residual > 0
    assert first.products == done["jvp_calls"] / 2 + 0.5, "the residual has taken one since"


def test_a_residual_is_solved_for_when_it_is_read() -> None:
    """A solve with M is dear, and a single step needs none of the residual."""
    system = system_of()

    class Counting(Diagonal):
        solves = 0

        def solve(self, v: Vector) -> Vector:
            self.solves += 1
            return super().solve(v)

    M: Any = Counting(system)
    _, first = islice(Subspace().iterates(system, None, M), 2)
    assert M.solves == 1
    assert 0 < first.relative_residual < 1
    assert M.solves == 2
