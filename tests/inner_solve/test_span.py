"""The system on a span: VᵀAV, Vᵀg, combinations and their products, against the dense matrix and parts cut by hand."""

from __future__ import annotations

import pytest
import torch
from support.systems import flat, inputs_for, network, targets_for
from torch import Tensor

from hfbench.curvature.linearisation import Linearisation
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.vector import Vector
from hfbench.solvers.dense import dense_matrix

SPLITS = {"none": [(0, 1, 2, 3)], "layers": [(0, 1), (2, 3)], "parameters": [(0,), (1,), (2,), (3,)]}


def system_of(layout: str = "structured", chunk: int | None = None, precision: str = "parameters") -> GaussNewtonSystem:
    model, x, t = network((5, 4, 3), 0), inputs_for(9, 5, 1), targets_for("softmax", 9, 3, 2)
    at = Linearisation(model, "softmax", x, t, layout=layout, chunk=chunk, precision=precision)
    return GaussNewtonSystem(at, at.gradient, 0.1, (0.02, 0.0, 0.02, 0.0), shares_cases=True)


def drawn(system: GaussNewtonSystem, k: int) -> list[Vector]:
    generator = torch.Generator().manual_seed(3)
    return [
        Vector(torch.randn(block.shape, generator=generator, dtype=block.dtype) for block in system.gradient)
        for _ in range(k)
    ]


def parts(V: list[Vector], split: str, system: GaussNewtonSystem) -> Tensor:
    """The parts of all vectors as columns, those of the first group first."""
    unpacked = [system.linearisation.layout.unpack(v) for v in V]
    columns = [
        torch.cat([(b if i in group else 0 * b).reshape(-1) for i, b in enumerate(v)])
        for group in SPLITS[split]
        for v in unpacked
    ]
    return torch.stack(columns, 1)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("layout", "chunk"), [("structured", None), ("structured", 4), ("flat", None)])
def test_the_small_system_is_that_of_the_parts(split: str, layout: str, chunk: int | None) -> None:
    system = system_of(layout, chunk)
    V, A, g = drawn(system, 2), dense_matrix(system), torch.tensor(flat(system.gradient))
    columns, span = parts(V, split, system), system.span(V, split)
    assert span.size == columns.shape[1]
    torch.testing.assert_close(span.matrix, columns.T @ A @ columns, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(span.slopes(system.gradient), columns.T @ g, atol=1e-12, rtol=1e-10)
    c = torch.linspace(-1.0, 2.0, span.size, dtype=torch.float64)
    x = span.combined(c.tolist())
    torch.testing.assert_close(torch.tensor(flat(x)), columns @ c, atol=1e-12, rtol=1e-10)
    assert [block.shape for block in x] == [block.shape for block in system.gradient]
    Ax = torch.tensor(flat(span.multiply(c.tolist(), x)))
    torch.testing.assert_close(Ax, A @ columns @ c, atol=1e-11, rtol=1e-9)


def test_products_are_counted_by_their_cost() -> None:
    """Two whole vectors are two J v, half a product each; a combination's A x needs one Jᵀ more."""
    system = system_of()
    before, span = system.linearisation.ledger.products, system.span(drawn(system, 2), "none")
    assert span.products == 1.0
    c = [1.0, -1.0]
    span.multiply(c, span.combined(c))
    assert span.products == 1.5
    assert system.linearisation.ledger.products - before == 1.5


def test_of_a_streamed_batch_no_tangents_are_kept() -> None:
    """With all parts of all cases they would exceed what a chunk takes; A x is a whole product then."""
    system = system_of(chunk=4)
    span = system.span(drawn(system, 2), "layers")
    assert (span.JV, span.cost_of_product) == (None, 1.0)
    before, spent = system.linearisation.ledger.products, span.products
    c = [1.0, -1.0, 0.5, 2.0]
    span.multiply(c, span.combined(c))
    assert system.linearisation.ledger.products - before == span.products - spent == 1.0


@pytest.mark.parametrize(("precision", "eps"), [("parameters", 2**-52), ("float32", 2**-46), ("bfloat16", 2**-14)])
def test_rounding_is_that_of_the_gram_matrix(precision: str, eps: float) -> None:
    """Errors of J v in fewer digits enter it squared, where it matters: along combinations that vanish."""
    exact, rough = system_of(), system_of(precision=precision)
    V = drawn(exact, 1)
    V.append(V[0] * 3.7)  # parallel, so that the smallest eigenvalue is nothing but rounding
    span = rough.span(V, "none")
    assert span.rounding == pytest.approx(2 * eps)
    scale = span.matrix.diagonal().rsqrt()
    assert torch.linalg.eigvalsh(span.matrix * scale[:, None] * scale).abs().min() <= span.rounding
