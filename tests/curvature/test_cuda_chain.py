"""Products of a chain replayed as CUDA graphs are those launched, in every precision."""

from __future__ import annotations

import pytest
import torch
from support.gpu_chains import direction, linearised
from torch import Tensor

from hfbench.curvature.cuda_chain import ReplayedChain
from hfbench.curvature.dense_chain import Chain
from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector

gpu = pytest.mark.gpu


@gpu
@pytest.mark.parametrize("layout", ["structured", "flat"])
def test_replayed_products_are_those_launched_and_stay_the_callers(layout: str) -> None:
    at = linearised(layout=layout)
    assert isinstance(at.kept, ReplayedChain)
    found: list[tuple[Vector, Vector, Tensor, Vector]] = []
    for seed in range(5):  # launched, launched, recorded and replayed, replayed, …
        v = direction(at, seed)
        Jv = at.jvp(v)
        found.append((v, at.gauss_newton(v), Jv, at.vjp(Jv)))
    for v, Gv, Jv, JJv in found:
        exact = Chain.jvp(at.kept, at.layout.unpack(v))
        torch.testing.assert_close(Jv, exact)
        torch.testing.assert_close(list(JJv), list(at.layout.pack(Chain.vjp(at.kept, exact))))
        weighted = Chain.vjp(at.kept, at.loss_at.hessian(exact) / at.n)
        torch.testing.assert_close(list(Gv), list(at.layout.pack(weighted)))


@gpu
def test_weights_that_changed_are_seen_by_what_is_replayed_too() -> None:
    at = linearised()
    v = direction(at, 0)
    for _ in range(3):
        at.gauss_newton(v)
    with torch.no_grad():
        next(at.model.parameters()).add_(1)
    with pytest.raises(ConfigError, match="weights must not change after"):
        at.gauss_newton(v)


@gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_every_precision_is_replayed_as_it_is_launched(precision: str) -> None:
    at = linearised(dtype=torch.float32, precision=precision)
    exact = linearised()
    v = direction(at, 3)
    wanted = exact.gauss_newton(Vector(block.double() for block in v))
    scale = wanted.norm()
    for _ in range(4):
        found = Vector(block.double() for block in at.gauss_newton(v))
        assert (found - wanted).norm() <= {"float32": 1e-5, "tf32": 5e-3, "bfloat16": 5e-2}[precision] * scale
        torch.testing.assert_close(list(at.gradient), [b.float() for b in exact.gradient])  # never in TF32
        del at.gradient
