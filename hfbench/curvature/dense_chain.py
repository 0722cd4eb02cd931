"""Tape of a chain of dense layers and activations: products written out, nothing recorded by autograd.

Formula    s_l = W_l a_{l-1} + b_l,   a_l = φ_l(s_l),   a_0 the inputs,   z = a_L
           J v:    R s_l = V_l a_{l-1} + v_l + W_l R a_{l-1},   R a_l = φ_l'∘R s_l,   R a_0 = 0
           Jᵀu:    δ_l = φ_l'∘∇a_l,   ∇a_L = u,   ∇a_{l-1} = W_lᵀ δ_l,
                   ∇W_l = Σ_i δ_l a_{l-1}ᵀ,   ∇b_l = Σ_i δ_l, over cases
Source     Pearlmutter (1994), "Fast exact multiplication by the Hessian"; Schraudolph (2002), "Fast curvature
           matrix-vector products for second-order gradient descent", sections 3.1 and 3.2

These are four matrix products per layer (two in the first), sums inside them, and an elementwise pass per layer and
direction, which no Gauss-Newton product can avoid. A recorded graph (`hfbench.curvature.autograd_tape`) takes the same
for any model, and in addition a pass to transpose itself and a tensor for each sum.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfbench.curvature import chain_columns
from hfbench.curvature.chain_columns import Groups
from hfbench.curvature.chain_links import Link, PassedLayer
from hfbench.curvature.layer_io import LayerIO
from hfbench.curvature.weights_by_name import Weights
from hfbench.linalg.precision import dtype_of_layer, rounded_sum_of_outer, sum_of_outer
from hfbench.linalg.vector import Vector, empty_vector

SumOfOuter = Callable[[Tensor, Tensor, Tensor], Tensor]


class Chain:
    """One batch's pass, in the weights' dtype or another: weights and inputs are cast once, v and u at every product.

    In a dtype of fewer digits, narrow layers stay in the weights' own (`hfbench.linalg.precision.dtype_of_layer`), and
    the sums over cases in Jᵀu are not rounded again (`sum_of_outer` there), but in the gradient.

    Implements `hfbench.curvature.tape.Tape` and `hfbench.curvature.layer_io.LayerIOSource`.
    """

    mode = "chain"
    is_recorded = True

    def __init__(
        self, model: nn.Module, links: list[Link], inputs: Tensor, weights: Weights, dtype: torch.dtype | None = None
    ) -> None:
        self.inputs, self.cases, self.own = inputs, len(inputs), inputs.dtype
        self.trained = list(model.parameters())
        places = {id(p): i for i, p in enumerate(self.trained)}
        own = list(weights.values())  # in the order of the parameters, since all of them are trained
        self.passed: list[PassedLayer] = []
        self.z = inputs
        with torch.no_grad():
            for link in links:
                used = dtype_of_layer(link.layer.weight.numel(), self.own, dtype or self.own)
                weight, bias = places[id(link.layer.weight)], places.get(id(link.layer.bias))
                W, b = own[weight].to(used), None if bias is None else own[bias].to(used)
                a = self.z.to(used)
                s = functional.linear(a, W, b)
                self.z = s if link.activation is None else link.activation.forward(s)  # past hooks of all modules
                self.passed.append(PassedLayer(link, weight, bias, W, a, self.z))

    def jvp(self, v: Vector) -> Tensor:
        """J v."""
        Ra: Tensor | None = None
        for layer in self.passed:
            V = v[layer.weight].to(layer.dtype)
            Rs = layer.a @ V.T if layer.bias is None else torch.addmm(v[layer.bias].to(layer.dtype), layer.a, V.T)
            if Ra is not None:
                Rs.addmm_(Ra.to(layer.dtype), layer.W.T)
            Ra = layer.slope(Rs, into=Rs)
        assert Ra is not None  # there is a layer
        return Ra.to(self.own)

    def vjp(self, u: Tensor) -> Vector:
        """Jᵀu."""
        return self._vjp(u, sum_of_outer)

    def gradient(self, u: Tensor) -> Vector:
        """Jᵀu, each entry rounded to the layer's dtype: a step does not divide it by as little as products."""
        return self._vjp(u, rounded_sum_of_outer)

    def _vjp(self, u: Tensor, sum_of_outer: SumOfOuter) -> Vector:
        product = empty_vector(self.trained)
        for layer, delta in self.deltas(u):
            sum_of_outer(delta, layer.a, product[layer.weight])
            if layer.bias is not None:
                product[layer.bias].copy_(delta.sum(0, dtype=self._wider(layer)))
        return product

    def jvp_parts(self, V: Sequence[Vector], groups: Groups) -> Tensor:
        """J v of every part of k vectors, all in one sweep (`hfbench.curvature.chain_columns`)."""
        return chain_columns.jvp_parts(self.passed, V, groups).to(self.own)

    def share_of_jvp(self, k: int, groups: Groups) -> float:
        """Cost of `jvp_parts` in single products."""
        return chain_columns.share_of_jvp(self.passed, k, groups)

    def vjp_columns(self, U: Tensor) -> list[Vector]:
        """Jᵀu of every column of U, likewise."""
        blocks: list[Any] = [None] * len(self.trained)
        for layer, deltas in self.deltas(U):
            products = deltas.new_empty(U.shape[1], *layer.W.shape, dtype=self.own)
            sum_of_outer(deltas.flatten(1), layer.a, products.flatten(0, 1))
            blocks[layer.weight] = products
            if layer.bias is not None:
                blocks[layer.bias] = deltas.sum(0, dtype=self._wider(layer)).to(self.own)
        return [Vector(column) for column in zip(*blocks, strict=True)]

    def first(self, cases: int) -> Chain:
        """The pass of the first so many cases, in memory of its own: the whole can be freed."""
        part = copy.copy(self)
        part.inputs, part.cases, part.z = self.inputs[:cases], cases, self.z[:cases].clone()
        part.passed = [
            replace(layer, a=layer.a[:cases].clone(), activated=layer.activated[:cases].clone())
            for layer in self.passed
        ]
        return part

    def free(self) -> None:
        """Frees all tensors."""
        self.__dict__.clear()

    def deltas(self, u: Tensor) -> Iterator[tuple[PassedLayer, Tensor]]:
        """The links with their δ_l, the last link first."""
        g, fresh = u, False
        for index, layer in reversed([*enumerate(self.passed)]):
            cast = g.to(layer.dtype)
            delta = layer.slope(cast, into=cast if fresh or cast is not g else None)
            yield layer, delta
            if index:
                g, fresh = delta @ layer.W, True

    def _wider(self, layer: PassedLayer) -> torch.dtype:
        return torch.promote_types(layer.dtype, self.own)

    # ------------------------------------------------------------ rows of gradients

    @property
    def capture(self) -> Chain:
        """Inputs and deltas of the layers."""
        return self

    def problem(self, z: Tensor) -> str:
        """None: the layers' rows are all of the gradient."""
        return ""

    def explains(self, z: Tensor) -> bool:
        """Always true: the layers' rows make up each case's gradient."""
        return True

    def passes(self, z: Tensor, u: Tensor) -> Iterator[LayerIO]:
        """Every layer's inputs and deltas for ⟨u, z⟩, the last layer first."""
        for layer, delta in self.deltas(u):
            yield LayerIO(layer.link.layer, layer.a, delta)
