"""The flat layout solves the same problem with one long vector."""

from __future__ import annotations

import pytest
import torch
from support.systems import inputs_for, network, targets_for

from hfbench import HessianFree, registry
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.linalg.layout import LAYOUTS, Flat, Structured, layout_of
from hfbench.linalg.vector import Vector

DTYPE = torch.float64
LOSS = "logistic"
PAIRS = [
    (solver, preconditioner)
    for solver in registry.names("solver")
    for preconditioner in registry.names("preconditioner")
    if getattr(registry.get("solver", solver), "takes_preconditioner", True) or preconditioner == "identity"
]


def blocks(seed: int = 0) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return Vector(torch.randn(shape, generator=generator, dtype=DTYPE) for shape in ((3, 2), (3,), (1, 3)))


def problem() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    return network((6, 5, 4), 0), inputs_for(20, 6, 1), targets_for(LOSS, 20, 4, 2)


def test_flat_vectors_keep_the_order_of_the_entries() -> None:
    v, flat = blocks(), Flat(blocks())
    packed = flat.pack(v)
    assert len(packed) == 1
    torch.testing.assert_close(packed[0], torch.cat([block.flatten() for block in v]))
    back = flat.unpack(packed)
    assert [block.shape for block in back] == [block.shape for block in v]
    torch.testing.assert_close(tuple(back), tuple(v))
    back[1].zero_()
    assert packed[0][6:9].tolist() == [0, 0, 0], "the blocks are views"


def test_numbers_per_block_scale_alike_in_both_layouts() -> None:
    v, flat, numbers = blocks(), Flat(blocks()), [2.0, -1.0, 0.5]
    scaled = v * Structured().spread(numbers)
    torch.testing.assert_close(tuple(flat.unpack(flat.pack(v) * flat.spread(numbers))), tuple(scaled))
    shifted = blocks().shift_(Structured().spread(numbers))
    torch.testing.assert_close(tuple(flat.unpack(flat.pack(v).shift_(flat.spread(numbers)))), tuple(shifted))


def test_structured_vectors_are_not_copied() -> None:
    v = blocks()
    assert Structured().pack(v) is v
    assert Structured().unpack(v) is v


@pytest.mark.parametrize("chunk", [None, 7])
def test_products_agree(chunk: int | None) -> None:
    model, x, t = problem()
    plain = Linearisation(model, LOSS, x, t, chunk=chunk)
    flat = Linearisation(model, LOSS, x, t, chunk=chunk, layout="flat")
    assert [block.shape for block in flat.parameters] == [(sum(p.numel() for p in model.parameters()),)]
    v = plain.gradient
    packed = flat.layout.pack(v)
    for of_plain, of_flat in (
        (plain.gradient, flat.gradient),
        (plain.gauss_newton(v), flat.gauss_newton(packed)),
        (plain.squared_sums(plain.residual), flat.squared_sums(flat.residual)),
        (plain.vjp(plain.jvp(v)), flat.vjp(flat.jvp(packed))),
    ):
        torch.testing.assert_close(tuple(flat.layout.unpack(of_flat)), tuple(of_plain), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("solver", "preconditioner"), PAIRS)
@pytest.mark.parametrize("right_hand_side", ["residual", "damping"])
def test_both_layouts_take_the_same_steps(solver: str, preconditioner: str, right_hand_side: str) -> None:
    weights = []
    for layout in LAYOUTS:
        model, x, t = problem()
        optimizer = HessianFree(
            model,
            LOSS,
            solver=solver,
            preconditioner=preconditioner,
            right_hand_side=right_hand_side,
            decay=1e-3,
            layout=layout,
            rules=[{"use": "residual", "rtol": 1e-6}],  # beyond it there may be rounding alone
        )
        results = [optimizer.step(x, t) for _ in range(3)]
        assert results[-1].objective_after < results[0].objective_before
        weights.append([p.detach().clone() for p in model.parameters()])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-8, atol=1e-10)


def test_a_resumed_flat_run_goes_on_exactly() -> None:
    model, x, t = problem()
    optimizer = HessianFree(model, LOSS, solver="lsmr", layout="flat")
    optimizer.step(x, t)
    copy, _, _ = problem()
    copy.load_state_dict(model.state_dict())
    resumed = HessianFree(copy, LOSS, solver="lsmr", layout="flat")
    resumed.load_state_dict(optimizer.state_dict())
    assert optimizer.step(x, t) == resumed.step(x, t)


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ConfigError, match="layout: must be one of structured, flat, but got 'falt'.*flat"):
        layout_of("falt", blocks())
