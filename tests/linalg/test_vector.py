"""Vectors are tuples of blocks that add and scale; numbers are those of one long float64 vector."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.systems import flat

from hfbench.errors import ConfigError
from hfbench.linalg.vector import PIECE, Vector, as_vector, empty_vector, residual_vector

SHAPES = st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=4)


def draw(shapes: list[tuple[int, ...]], seed: int, dtype: torch.dtype = torch.float64) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return Vector(torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)


@given(SHAPES, st.integers(0, 10**6), st.floats(-3, 3))
def test_arithmetic_is_that_of_the_long_vector(shapes: list[tuple[int, ...]], seed: int, alpha: float) -> None:
    v, w = draw(shapes, seed), draw(shapes, seed + 1)
    a, b = flat(v), flat(w)
    per_block = tuple(float(i) for i in range(len(v)))
    expanded = np.concatenate([np.full(block.numel(), s) for block, s in zip(v, per_block, strict=True)])
    for ours, theirs in [
        (v + w, a + b),
        (v - w, a - b),
        (-v, -a),
        (v * alpha, a * alpha),
        (alpha * v, a * alpha),
        (v * w, a * b),
        (v * per_block, a * expanded),
        (v / w, a / b),
        ((v * v) ** 0.5, np.abs(a)),
        (v.add(w, alpha), a + alpha * b),
        (v.add(w, per_block), a + expanded * b),
        (v.add(w, v), a + b * a),
    ]:
        assert isinstance(ours, Vector)
        np.testing.assert_allclose(flat(ours), theirs, rtol=1e-12, atol=1e-13)  # sums may cancel
    assert np.array_equal(flat(v.clone().add_(w, alpha)), flat(v.add(w, alpha)))
    assert v.dot(w) == pytest.approx(a @ b, rel=1e-12, abs=1e-13)
    assert v.norm() == pytest.approx(float(np.linalg.norm(a)))
    assert v.numel() == len(a)
    assert np.array_equal(flat(v), a), "operators leave their operands alone"


# ---------------------------------------------------------------- blocks side by side in one tensor

WHOLE = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=2, max_size=4)


def joined(v: Vector) -> Vector:
    """The same vector with its blocks side by side."""
    made = empty_vector(v)
    for into, block in zip(made, v, strict=True):
        into.copy_(block)
    return made


@given(WHOLE, st.integers(0, 10**6), st.floats(-3, 3), st.booleans())
def test_arithmetic_is_the_same_where_blocks_lie_side_by_side(
    shapes: list[tuple[int, ...]], seed: int, alpha: float, both: bool
) -> None:
    v, w = draw(shapes, seed), draw(shapes, seed + 1)
    V, W = joined(v), joined(w) if both else w
    each = tuple(float(i) for i in range(len(v)))
    assert len(V.parts) == 1
    for ours, theirs in [
        (V + W, v + w),
        (V - W, v - w),
        (W - V, w - v),
        (-V, -v),
        (V * alpha, v * alpha),
        (V * W, v * w),
        (V * each, v * each),
        (V / W, v / w),
        ((V * V) ** 0.5, (v * v) ** 0.5),
        (V.add(W, alpha), v.add(w, alpha)),
        (V.add(W, each), v.add(w, each)),
        (V.add(W, W), v.add(w, w)),
        (V.clone().plus(W, each), v.clone().plus(w, each)),
        (V.clone().add_(W, alpha), v.clone().add_(w, alpha)),
        (V.clone().mul_(alpha), v.clone().mul_(alpha)),
        (V.clone().mul_(each), v.clone().mul_(each)),
        (V.clone().shift_(each), v.clone().shift_(each)),
        (V.clone().scale_add_(alpha, W), v.clone().scale_add_(alpha, w)),
        (V.zeros_like(), v.zeros_like()),
    ]:
        assert [block.shape for block in ours] == [block.shape for block in v]
        np.testing.assert_allclose(flat(ours), flat(theirs), rtol=1e-14, atol=1e-15)  # the last bit may differ
        assert len(ours.parts) == 1 or not both, "and stay there"
        assert np.array_equal(np.concatenate([part.numpy().reshape(-1) for part in ours.parts]), flat(ours))
    assert V.dot(W) == pytest.approx(v.dot(w), rel=1e-12, abs=1e-13)
    assert V.dots(W) == pytest.approx(v.dots(w), rel=1e-12, abs=1e-13)
    assert np.array_equal(flat(V), flat(v)), "operators leave their operands alone"


def test_a_vector_of_the_residual_space_has_its_outputs_apart() -> None:
    outputs = draw([(5, 2)], 3)[0]
    v = draw([(2, 3), (3,)], 0)
    plain, u = residual_vector(outputs, v), residual_vector(outputs, joined(v))
    assert len(plain.parts) == 3
    assert len(u.parts) == 2
    assert np.array_equal(flat(u - u * 0.5), flat(plain) / 2)
    assert len((u - u * 0.5).parts) == 2
    assert np.array_equal(flat(u + plain), 2 * flat(plain))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_copies_are_changed_as_a_whole(copied: Any) -> None:
    v = joined(draw([(2, 3), (3,)], 0))
    before = flat(v)
    other = copied(v)
    other.mul_(2.0)
    assert np.array_equal(flat(other), 2 * before)
    other.add_(other.clone())
    assert np.array_equal(flat(other), 4 * before)


@pytest.mark.parametrize(
    "like",
    [
        (torch.zeros(2, 3),),
        (torch.zeros(2, 3), torch.zeros(0)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2), torch.zeros(2, device="meta")),
    ],
)
def test_what_cannot_lie_side_by_side_is_apart(like: tuple[torch.Tensor, ...]) -> None:
    made = empty_vector(like)
    assert len(made.parts) == len(like)
    assert [(b.shape, b.dtype, b.device) for b in made] == [(b.shape, b.dtype, b.device) for b in like]


def test_in_place_methods_change_the_blocks_and_return_the_vector() -> None:
    v, w = draw([(2, 3), (3,)], 0), draw([(2, 3), (3,)], 1)
    a, b, first = flat(v), flat(w), v[0]
    assert v.add_(w, 0.5) is v
    assert v.mul_((2.0, 3.0)) is v
    assert v.shift_((1.0, -1.0)) is v
    assert v[0] is first
    assert v.scale_add_(-3.0, w) is v
    assert v[0] is first
    expected = (a + 0.5 * b) * np.repeat([2.0, 3.0], [6, 3]) + np.repeat([1.0, -1.0], [6, 3])
    np.testing.assert_allclose(flat(v), b - 3 * expected)
    assert np.array_equal(flat(w), b)
    assert np.array_equal(flat(w), b)


@pytest.mark.parametrize("largest", [1e15, 1e25, 1e38])
def test_finite_vectors_of_float32_have_finite_norms_and_products(largest: float) -> None:
    v = draw([(2, 3), (4,)], 0, torch.float32) * (largest / 10)
    wide = flat(v)
    assert v.isfinite()
    assert v.norm() == pytest.approx(float(np.linalg.norm(wide)), rel=1e-6)
    assert v.dot(v) == v.inner(v) == pytest.approx(float(wide @ wide), rel=1e-6)
    assert v.dots(v) == pytest.approx([float(flat(Vector([block])) @ flat(Vector([block]))) for block in v], rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_finite_is_told_by_the_entries(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    assert Vector([torch.full((3,), largest, dtype=dtype)]).isfinite()
    for bad in (math.inf, -math.inf, math.nan):
        v = Vector([torch.full((3,), largest, dtype=dtype), torch.tensor([1.0, bad], dtype=dtype)])
        assert not v.isfinite()
        assert not math.isfinite(v.norm())


def test_clone_and_zeros_share_nothing() -> None:
    v = draw([(2, 2)], 0)
    copy, zeros = v.clone(), v.zeros_like()
    copy.mul_(2.0)
    zeros.shift_((1.0,))
    assert flat(v) == pytest.approx(flat(copy) / 2)
    assert (flat(zeros) == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_need_not_be_contiguous(dtype: torch.dtype) -> None:
    """Transposed views and expanded blocks pair entry by entry, not in the order of their memory."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 4, generator=generator, dtype=dtype) for _ in range(2))
    views = Vector((a.T, b[0].expand(2, 4)))
    plain = Vector((a.T.contiguous(), b[0].repeat(2, 1)))
    other = Vector((b.T.contiguous(), a[:2].clone()))
    assert views.dot(other) == pytest.approx(plain.dot(other), rel=1e-6)
    assert other.dot(views) == views.dot(other)
    assert views.norm() == pytest.approx(plain.norm(), rel=1e-6)
    assert flat(views + other) == pytest.approx(flat(plain + other))


def test_scalar_parameters_are_blocks_too() -> None:
    v = Vector((torch.tensor(3.0), torch.tensor([4.0])))
    assert v.norm() == 5.0
    assert v.dot(v) == 25.0


def test_blocks_are_added_up_in_float64() -> None:
    """In float32 the small block would vanish beside the large one."""
    v = Vector((torch.tensor([4096.0]), torch.tensor([2.0**-12]), torch.tensor([-4096.0])))
    ones = Vector(torch.ones(1) for _ in range(3))
    assert v.dot(ones) == 2.0**-12


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([math.inf, -math.inf], math.nan),
        ([math.inf, 1.0], math.inf),
        ([math.nan, 1.0], math.nan),
        ([1.5e308, 1.5e308], math.inf),
    ],
)
def test_sums_that_are_not_finite_are_values_and_no_errors(blocks: list[float], expected: float) -> None:
    v = Vector(torch.tensor([value], dtype=torch.float64) for value in blocks)
    ones = Vector(torch.ones(1, dtype=torch.float64) for _ in blocks)
    assert v.dot(ones) == pytest.approx(expected, nan_ok=True)
    assert v.isfinite() == all(map(math.isfinite, blocks))
    assert Vector((torch.full((1,), 1e154, dtype=torch.float64),) * 2).norm() > 1e154


def test_it_is_a_tuple_that_pickles() -> None:
    v = draw([(2,), (3,)], 0)
    again = pickle.loads(pickle.dumps(v))
    assert isinstance(again, tuple)
    assert isinstance(again, Vector)
    assert np.array_equal(flat(again), flat(v))


def test_as_vector_checks_shapes_in_order() -> None:
    like = draw([(2, 3), (3,)], 0)
    assert as_vector(like, like) is like
    assert isinstance(as_vector(list(like), like), Vector)
    for wrong in (like[:1], like[::-1], [like[0].T, like[1]]):
        with pytest.raises(ConfigError, match="in order"):
            as_vector(wrong, like)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (3, r"3 \(int\)"),
        ("cg", r"'cg' \(str\)"),
        (None, r"None \(NoneType\)"),
        (torch.tensor(1.0), r"\(\)"),
        ([1, 2], r"\[1 \(int\), 2 \(int\)\]"),
        ([np.zeros((2, 3)), np.zeros(3)], r"\(ndarray\)"),
        ([torch.zeros(2, 3), torch.zeros(3, dtype=torch.complex64)], r"\(3,\), which is complex"),
        (torch.ones(1000), r", … \(1000 in all\)\]"),
    ],
)
def test_as_vector_says_what_it_was_given(wrong: Any, words: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"must have the parameters' shapes .* in order, .*but got .*{words}"
    ) as told:
        as_vector(wrong, draw([(2, 3), (3,)], 0))
    assert len(str(told.value)) < 400


@pytest.mark.parametrize("size", [1e-25, 1e-22, 1e-19, 1e25])
def test_products_that_float32_cannot_hold_are_formed_in_float64(size: float) -> None:
    a, b = (
        draw([(30, 40), (3,)], seed).like((torch.zeros(30, 40), *draw([(3,)], seed, torch.float32))) for seed in (0, 1)
    )
    exact = float(a[1].double() @ b[1].double())
    small, other = a * size, b * size
    assert small.dot(other) == pytest.approx(float(small[1].double() @ other[1].double()), rel=1e-6)
    assert small.dot(other) == pytest.approx(exact * size**2, rel=1e-3)
    assert small.dots(other)[0] == 0
    assert small.inner(other) == small.dot(other)


@pytest.mark.parametrize("number", [1e39, -1e300, math.inf, -math.inf])
def test_scalars_beyond_float32_are_infinite(number: float) -> None:
    v = Vector((torch.tensor([1.0, -1.0]),))
    expected = [math.copysign(math.inf, number), -math.copysign(math.inf, number)]
    assert v.zeros_like().add(v, number)[0].tolist() == expected
    assert v.zeros_like().add_(v, number)[0].tolist() == expected
    assert v.clone().scale_add_(number, v)[0].tolist() == expected
    assert (v * number)[0].tolist() == expected
    assert v.clone().mul_(number)[0].tolist() == expected


def test_float32_sums_of_a_million_entries_keep_their_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    sparse = torch.randn(10**6, generator=generator) * (torch.rand(10**6, generator=generator) < 0.02)
    v = Vector((sparse + 0.01 * torch.randn(10**6, generator=generator),))
    exact = float(v[0].double().norm())
    assert v.norm() == pytest.approx(exact, rel=2e-6)
    assert v.dot(v) == pytest.approx(exact**2, rel=4e-6)


def test_dots_of_blocks_side_by_side_are_those_of_blocks_apart() -> None:
    """Long blocks are cut into pieces, of which none reaches into another block; so are those after an output block."""
    shapes = (3, PIECE // 2 + 5), (7,), (PIECE,), (2, 2, PIECE + 1)
    drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i, shape in enumerate(shapes)]
    apart, together = Vector(drawn), empty_vector(drawn)
    for into, block in zip(together, drawn, strict=True):
        into.copy_(block)
    exact = [float(block.double().square().sum()) for block in drawn]
    outputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(9))
    for v in (apart, together):
        assert v.dots(v) == pytest.approx(exact, rel=1e-5)
        assert v.dots(apart) == pytest.approx(exact, rel=1e-5)
        assert v.dot(together) == pytest.approx(sum(exact), rel=1e-5)
        both = residual_vector(outputs, v)
        assert both.dots(both) == pytest.approx([float(outputs.square().sum()), *exact], rel=1e-5)


def test_dots_are_each_blocks_own() -> None:
    v, w = draw([(2, 3), (3,)], 0), draw([(2, 3), (3,)], 1)
    assert v.dots(w) == [pytest.approx(float((a * b).sum())) for a, b in zip(v, w, strict=True)]
