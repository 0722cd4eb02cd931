"""Products of a dense chain with several vectors at once, and with parts of vectors, in one sweep.

The columns stand beside each other, cases × columns × features, so that each layer has one matrix product for all of
them. A part of a vector is its blocks of one group of parameters, and zero elsewhere: in J v it begins at the first
layer of its group, and layers before that cost nothing. With R s_l of `hfbench.curvature.dense_chain`,
    R s_l = [W_l R a_{l-1} of the parts under way] + [V_l a_{l-1} + v_l of the parts of layer l]
Source     Schraudolph (2002), as there; the parts of all layers at once are new here
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hfbench.linalg.precision import sum_of_outer
from hfbench.linalg.vector import Vector

if TYPE_CHECKING:
    from hfbench.curvature.dense_chain import Chain, PassedLayer

Groups = Sequence[Sequence[int]]  # of positions in a vector, each position in one


def jvp_parts(chain: Chain, V: Sequence[Vector], groups: Groups) -> Tensor:
    """J v of every part of each of k vectors: cases × parts × outputs, the k parts of the first group first."""
    k = len(V)
    group_of = {position: index for index, group in enumerate(groups) for position in group}
    under_way: list[int] = []  # groups, in the order of their columns in RA
    RA: Tensor | None = None
    for layer in chain.passed:
        new = _own_parts(chain, layer, V, group_of)
        if RA is None:
            RS = torch.cat(list(new.values()), 1)
            under_way = list(new)
        elif len(under_way) == 1 and list(new) == under_way:  # whole vectors: added up in place
            RS = new[under_way[0]]
            RS.flatten(0, 1).addmm_(RA.flatten(0, 1), layer.W.T)
        else:
            RS = RA @ layer.W.T
            for group in [one for one in new if one in under_way]:
                place = k * under_way.index(group)
                RS[:, place : place + k] += new.pop(group)
            RS = torch.cat([RS, *new.values()], 1)
            under_way += new
        RA = layer.slope(RS, into=RS)
    assert RA is not None  # there is a layer
    if under_way != sorted(under_way):
        order = [under_way.index(group) for group in range(len(groups))]
        RA = RA.view(chain.cases, len(groups), k, -1)[:, order].flatten(1, 2)
    return RA.to(chain.own)


def _own_parts(chain: Chain, layer: PassedLayer, V: Sequence[Vector], group_of: dict[int, int]) -> dict[int, Tensor]:
    """V_l a + v_l, cases × k × features, for the group of the layer's weight and that of its bias, if it is another."""
    weights = torch.stack([v[layer.weight] for v in V]).to(chain.dtype).flatten(0, 1)
    group, shape = group_of[layer.weight], (chain.cases, len(V), -1)
    if layer.bias is None:
        return {group: (layer.a @ weights.T).view(shape)}
    biases = torch.stack([v[layer.bias] for v in V]).to(chain.dtype)
    if group_of[layer.bias] == group:
        return {group: torch.addmm(biases.flatten(), layer.a, weights.T).view(shape)}
    return {group: (layer.a @ weights.T).view(shape), group_of[layer.bias]: biases.repeat(chain.cases, 1, 1)}


def vjp_columns(chain: Chain, U: Tensor) -> list[Vector]:
    """Jᵀu of the k columns of U, cases × k × outputs."""
    blocks: list[Any] = [None] * len(chain.trained)
    for layer, deltas in chain.deltas(U):
        products = deltas.new_empty(U.shape[1], *layer.W.shape, dtype=chain.own)
        sum_of_outer(deltas.flatten(1), layer.a, products.flatten(0, 1))
        blocks[layer.weight] = products
        if layer.bias is not None:
            blocks[layer.bias] = deltas.sum(0, dtype=chain.wider).to(chain.own)
    return [Vector(column) for column in zip(*blocks, strict=True)]


def share_of_jvp(chain: Chain, k: int, groups: Groups) -> float:
    """Matrix products of `jvp_parts` over those of one J v, by their multiplications; the first layer has two, too."""
    group_of = {position: index for index, group in enumerate(groups) for position in group}
    under_way: set[int] = set()
    done = whole = 0
    for layer in chain.passed:
        own = layer.W.numel()
        done += k * own * (1 + len(under_way))
        whole += 2 * own
        under_way |= {group_of[i] for i in (layer.weight, layer.bias) if i is not None}
    first = chain.passed[0].W.numel()  # which by convention counts as any other, see `hfbench.curvature.work_ledger`
    return (done + k * first * 1) / whole
