"""Sums over cases of squared per-case gradients; for plain dense layers no per-case gradient is formed.

For a dense layer with inputs a_i and deltas δ_i (the derivative of ⟨u_i, z_i⟩ by the layer's output), case i's
gradient is δ_i a_iᵀ, so that
    Σ_i (δ_i a_iᵀ)∘² = (δ∘δ)ᵀ(a∘a)                 one matrix product per layer
    Σ_i ‖δ_i a_iᵀ‖²  = Σ_i ‖δ_i‖²(‖a_i‖² + 1)      none at all (the 1 is the bias)
A layer at T places per case (`hfbench.curvature.layer_io`) has Σ_t l_it r_itᵀ: one batched matrix product, in slices of
cases. Models with other layers or shared weights use batched per-case gradients (`torch.func`), or one case at a time
if an operation cannot be batched (recurrent layers, hand-written functions), which is slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import vjp, vmap

from hfbench.curvature.double_backward import quiet, twice_differentiable
from hfbench.curvature.layer_io import LayerIO, LayerIOSource
from hfbench.curvature.model_checks import trainable
from hfbench.curvature.weights_by_name import Weights, leaves_of, outputs_with
from hfbench.linalg.vector import Vector
from hfbench.memory.allocations import case_slices

PER_CASE_ENTRIES = 2**25  # entries of per-case gradients held at a time by the general path: 128 MiB in float32
SLICE_ENTRIES = 2**20  # of per-case gradients, or of windows, of one layer: more would only leave the cache


def squared_sums(
    model: nn.Module, inputs: Tensor, z: Tensor, capture: LayerIOSource, u: Tensor, weights: Weights
) -> Vector:
    """Σ_i (J_iᵀu_i)∘(J_iᵀu_i), shaped like the parameters."""
    if not capture.explains(z):
        return _general(model, inputs, u, lambda g: [block.square().sum(0) for block in g], weights)
    sums: dict[int, Tensor] = {}
    for seen in capture.passes(z, u):
        layer = seen.layer
        if layer.weight.requires_grad:
            sums[id(layer.weight)] = _squared(seen).view(layer.weight.shape)
        if layer.bias is not None and layer.bias.requires_grad:
            sums[id(layer.bias)] = seen.units.sum(1).square().sum(0)
    return Vector(sums[id(p)] for p in trainable(model).values())


def squared_sums_of(names: Sequence[str], model: nn.Module, inputs: Tensor, u: Tensor, weights: Weights) -> Vector:
    """Σ_i (J_iᵀu_i)∘(J_iᵀu_i) for some of the parameters, from each case's gradient by these."""
    some = {name: weights[name] for name in names}
    return _general(model, inputs, u, lambda g: [block.square().sum(0) for block in g], some, weights)


def squared_norms(
    model: nn.Module, inputs: Tensor, z: Tensor, capture: LayerIOSource, u: Tensor, weights: Weights
) -> float:
    """Σ_i ‖J_iᵀu_i‖², summed in float64."""
    if not capture.explains(z):
        return sum(float(s) for s in _general(model, inputs, u, _total_square, weights))
    return sum(_squared_norm(seen) for seen in capture.passes(z, u))


def _squared(seen: LayerIO) -> Tensor:
    """Σ_i (Σ_t l_it r_itᵀ)∘², as a matrix."""
    if seen.is_plain:
        return seen.delta.square().T @ seen.a.square()
    total = torch.zeros((), dtype=seen.a.dtype, device=seen.a.device)
    for gradients in _per_case(seen):
        total = total + gradients.square().sum(0)
    return total


def _squared_norm(seen: LayerIO) -> float:
    """Σ_i ‖gradient of the layer's weight and bias for case i‖²."""
    weight, bias = seen.layer.weight.requires_grad, seen.layer.bias is not None and seen.layer.bias.requires_grad
    if seen.is_plain:
        inputs = seen.a.square().sum(1, dtype=torch.float64) * weight + bias
        return float(seen.delta.square().sum(1, dtype=torch.float64) @ inputs)
    total = float(seen.units.sum(1).square().sum(dtype=torch.float64)) if bias else 0.0
    if weight:
        total += sum(float(gradients.square().sum(dtype=torch.float64)) for gradients in _per_case(seen))
    return total


def _per_case(seen: LayerIO) -> Iterator[Tensor]:
    """The weight's gradients Σ_t l_it r_itᵀ (cases × p × q), in slices of cases."""
    for some in seen.slices(SLICE_ENTRIES):
        left, right = some.rows()
        yield left.transpose(1, 2) @ right


def _total_square(per_case: list[Tensor]) -> list[Tensor]:
    return [block.square().sum(dtype=torch.float64) for block in per_case]


def _general(
    model: nn.Module, inputs: Tensor, u: Tensor, reduce: Any, weights: Weights, others: Weights | None = None
) -> Vector:
    """`reduce` of the per-case gradients J_iᵀu_i by the weights, summed over slices of the batch."""
    total: Vector | None = None
    for gradients in case_gradients(model, inputs, u, weights, others):
        part = reduce(gradients)
        total = Vector(part) if total is None else total.add_(part)
    assert total is not None  # a batch is never empty
    return total


def case_gradients(
    model: nn.Module, inputs: Tensor, u: Tensor, weights: Weights, others: Weights | None = None
) -> Iterator[list[Tensor]]:
    """J_iᵀu_i by the weights, cases first, for slices of the cases; the model has `others` as constants."""
    weights, fixed = dict(weights), dict(others or {})

    def per_case(x: Tensor, u_i: Tensor) -> list[Tensor]:
        pullback = vjp(lambda w: _alone(lambda some: outputs_with(model, fixed | w, some), x, u_i.shape), weights)[1]
        return list(pullback(u_i)[0].values())

    size = max(1, PER_CASE_ENTRIES // sum(w.numel() for w in weights.values()))
    for rows in case_slices(len(inputs), size, bounded=True):
        x, u_x = inputs[rows], u[rows]
        with twice_differentiable(model), quiet():
            try:
                gradients = vmap(per_case)(x, u_x)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # an operation without a batching rule, or one that writes in place
                gradients = _one_by_one(model, x, u_x, weights, fixed)
        yield gradients


def _one_by_one(model: nn.Module, inputs: Tensor, u: Tensor, weights: Weights, fixed: Weights) -> list[Tensor]:
    """J_iᵀu_i for every case, stacked, from a graph per case."""
    rows, leaves = [], leaves_of(weights)
    for x, u_i in zip(inputs, u, strict=True):
        with torch.enable_grad():
            z = _alone(partial(outputs_with, model, {**fixed, **leaves}), x, u_i.shape, (IndexError, RuntimeError))
        rows.append(grad(z, list(leaves.values()), u_i, allow_unused=True, materialize_grads=True))
    return [torch.stack(blocks) for blocks in zip(*rows, strict=True)]


def _alone(
    call: Callable[[Tensor], Tensor],
    x: Tensor,
    shape: torch.Size,
    failures: tuple[type[Exception], ...] = (IndexError,),
) -> Tensor:
    """Outputs of this shape of one case; a model that squeezes a batch of one case away gets the case twice.

    So does one that fails, since a later operation misses the dimension of the cases.
    """
    try:
        z = call(x[None])
        if z.shape == (1, *shape):
            return z[0]
    except torch.OutOfMemoryError:
        raise
    except failures:
        pass
    return call(torch.stack((x, x)))[0]
