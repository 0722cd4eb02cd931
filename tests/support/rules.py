"""Products by written-out derivatives against PyTorch's own dense Jacobian in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from hfbench.curvature.linearisation import Linearisation
from hfbench.linalg.vector import Vector
from support.systems import dense_jacobian

ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-5}


def check_products(model: nn.Module, inputs: Tensor) -> None:
    """Asserts that J v, Jᵀu and z are right, in float64 to rounding and in float32 as well."""
    model, inputs = copy.deepcopy(model).double(), inputs.double()
    J = dense_jacobian(copy.deepcopy(model), inputs).detach()  # which leaves a shared layer changed
    for dtype, most in ROUNDING.items():
        cast, x = copy.deepcopy(model).to(dtype), inputs.to(dtype)
        z = cast(x).detach()
        at = Linearisation(cast, "least-squares", x, torch.zeros_like(z))
        generator = torch.Generator().manual_seed(1)
        v = Vector(torch.randn(block.shape, generator=generator, dtype=dtype) for block in at.blocks)
        u = torch.randn(z.shape, generator=generator, dtype=dtype)
        assert torch.equal(at.outputs, z), "bit for bit PyTorch's"
        assert_close(_long(at.vjp(u)), J.T @ u.double().reshape(-1), most)  # before any J v, as for a gradient
        for _ in range(2):  # products leave what they read as it was
            assert_close(at.jvp(v).reshape(-1), J @ _long(v), most)
            assert_close(_long(at.vjp(u)), J.T @ u.double().reshape(-1), most)
            assert_close(_long(at.gauss_newton(v)), J.T @ (J @ _long(v)) / len(x), most)
        assert at.product_mode == "transpose"


def assert_close(found: Tensor, exact: Tensor, most: float) -> None:
    """Asserts ‖found - exact‖ <= most·‖exact‖."""
    assert float((found.double() - exact).norm()) <= most * float(exact.norm())


def rules_used(model: nn.Module, inputs: Tensor) -> int:
    """Number of operations in the recorded graph that a rule took the place of."""
    at = Linearisation(model, "least-squares", inputs, torch.zeros_like(model(inputs).detach()))
    return rules_in(at.kept.z)  # type: ignore[union-attr]


def rules_in(z: Tensor) -> int:
    """Number of operations in the graph of z that a rule took the place of."""
    seen, waiting = set(), [z.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return sum(node.name() == "_SumBackward" for node in seen)


def _long(v: Vector) -> Tensor:
    return torch.cat([block.double().reshape(-1) for block in v])
