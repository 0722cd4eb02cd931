"""Sums over cases of squared per-case gradients, without forming a per-case gradient where layers are dense.

For a dense layer with inputs a_i and deltas δ_i (the derivative of ⟨u_i, z_i⟩ by the layer's output), case i's
gradient is δ_i a_iᵀ, so that
    Σ_i (δ_i a_iᵀ)∘² = (δ∘δ)ᵀ(a∘a)                 one matrix product per layer
    Σ_i ‖δ_i a_iᵀ‖²  = Σ_i ‖δ_i‖²(‖a_i‖² + 1)      none at all (the 1 is the bias)
Models with other layers, shared weights or more than one row per case use batched per-case gradients (`torch.func`), or
one case at a time where an operation cannot be batched (recurrent layers, hand-written functions): slower, and right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call, vjp, vmap

from hfbench.kernels import quiet, twice_differentiable
from hfbench.models import check_outputs
from hfbench.vector import Vector

PER_CASE_ENTRIES = 2**25  # entries of per-case gradients held at a time by the general path: 128 MiB in float32


class Capture:
    """Notes each dense layer's input, and where its output sits in the graph, during one forward pass.

    Only the place of the output is kept, not its values: nothing is held that the graph does not hold anyway.
    """

    def __init__(self, model: nn.Module, cases: int) -> None:
        self.cases, self.layers = cases, _dense_layers(model)
        self.seen: dict[nn.Linear, tuple[Tensor, GradientEdge]] = {}
        self.usable = self.layers is not None
        self._handles: list[Any] = []

    def __enter__(self) -> Capture:
        for layer in self.layers or ():
            self._handles.append(layer.register_forward_hook(self._note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self.usable = self.usable and len(self.seen) == len(self.layers or ())

    def _note(self, layer: nn.Linear, args: tuple[Tensor, ...], output: Tensor) -> None:
        once = layer not in self.seen and output.requires_grad
        if not once or not args or args[0].dim() != 2 or len(args[0]) != self.cases:  # or several rows per case
            self.usable = False
            return
        self.seen[layer] = (args[0].detach(), get_gradient_edge(output))

    def explains(self, z: Tensor) -> bool:
        """Whether the dense layers' inputs and deltas are all of z's gradient: no weight is used outside its layer."""
        return self.usable and max(_uses(z).values(), default=1) == 1

    def deltas(self, z: Tensor, u: Tensor) -> Iterator[tuple[nn.Linear, Tensor, Tensor]]:
        """(layer, a, δ) for every dense layer; a and δ have one row per case."""
        edges = [edge for _, edge in self.seen.values()]
        found = grad(z, edges, u, retain_graph=True, allow_unused=True, materialize_grads=False)
        for (layer, (a, _)), delta in zip(self.seen.items(), found, strict=True):
            yield layer, a, delta if delta is not None else a.new_zeros(len(a), layer.out_features)


def _uses(z: Tensor) -> Counter[int]:
    """How often each leaf of z's graph enters it, by id; a tied weight enters twice."""
    uses: Counter[int] = Counter()
    seen, waiting = set(), [z.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for before, _ in node.next_functions:
            if (leaf := getattr(before, "variable", None)) is not None:
                uses[id(leaf)] += 1
            else:
                waiting.append(before)
    return uses


def _dense_layers(model: nn.Module) -> list[nn.Linear] | None:
    """The model's dense layers if they own every trainable parameter, each its own; else None."""
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    owned = [p for layer in layers for p in (layer.weight, layer.bias) if p is not None]
    trained = [p for p in model.parameters() if p.requires_grad]
    if len(owned) != len({id(p) for p in owned}) or {id(p) for p in owned} != {id(p) for p in trained}:
        return None
    return layers


def squared_sums(model: nn.Module, inputs: Tensor, z: Tensor, capture: Capture, u: Tensor) -> Vector:
    """Σ_i (J_iᵀu_i)∘(J_iᵀu_i), shaped like the parameters."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not capture.explains(z):
        return _general(model, inputs, u, lambda g: [block.square().sum(0) for block in g], trained)
    sums: dict[int, Tensor] = {}
    for layer, a, delta in capture.deltas(z, u):
        squared = delta.square()
        sums[id(layer.weight)] = squared.T @ a.square()
        if layer.bias is not None:
            sums[id(layer.bias)] = squared.sum(0)
    return Vector(sums[id(p)] for p in trained)


def squared_norms(model: nn.Module, inputs: Tensor, z: Tensor, capture: Capture, u: Tensor) -> float:
    """Σ_i ‖J_iᵀu_i‖², summed in float64."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not capture.explains(z):
        return sum(float(s) for s in _general(model, inputs, u, _total_square, trained))
    total = 0.0
    for layer, a, delta in capture.deltas(z, u):
        inputs_squared = a.square().sum(1, dtype=torch.float64) + (layer.bias is not None)
        total += float(delta.square().sum(1, dtype=torch.float64) @ inputs_squared)
    return total


def _total_square(per_case: list[Tensor]) -> list[Tensor]:
    return [block.square().sum(dtype=torch.float64) for block in per_case]


def _general(model: nn.Module, inputs: Tensor, u: Tensor, reduce: Any, trained: list[nn.Parameter]) -> Vector:
    """`reduce` of the per-case gradients J_iᵀu_i, added up over slices of the batch."""
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def per_case(x: Tensor, u_i: Tensor) -> list[Tensor]:
        pullback = vjp(lambda w: functional_call(model, w, (x[None],))[0], weights)[1]
        return list(pullback(u_i)[0].values())

    size = max(1, PER_CASE_ENTRIES // sum(p.numel() for p in trained))
    total: Vector | None = None
    for start in range(0, len(inputs), size):
        x, u_x = inputs[start : start + size], u[start : start + size]
        with twice_differentiable(model), quiet():
            try:
                gradients = vmap(per_case)(x, u_x)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # an operation without a batching rule, or one that writes in place
                gradients = _one_by_one(model, x, u_x, trained)
        part = reduce(gradients)
        total = Vector(part) if total is None else total.add_(part)
    assert total is not None  # a batch is never empty
    return total


def _one_by_one(model: nn.Module, inputs: Tensor, u: Tensor, trained: list[nn.Parameter]) -> list[Tensor]:
    """J_iᵀu_i for every case, stacked, from a graph per case."""
    rows = []
    for i in range(len(inputs)):
        with torch.enable_grad():
            z = check_outputs(model(inputs[i : i + 1]), 1, trained)
        rows.append(grad(z, trained, u[i : i + 1], allow_unused=True, materialize_grads=True))
    return [torch.stack(blocks) for blocks in zip(*rows, strict=True)]
