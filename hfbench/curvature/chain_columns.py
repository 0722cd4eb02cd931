"""J v of parts of several vectors in a dense chain, all in one sweep.

The columns stand beside each other, cases × columns × features, so that each layer has one matrix product for all of
them. A part of a vector is its blocks of one group of parameters, and zero elsewhere: in J v it begins at the first
layer of its group, and layers before that cost nothing. With R s_l of `hfbench.curvature.dense_chain`,
    R s_l = [W_l R a_{l-1} of the parts that have begun] + [V_l a_{l-1} + v_l of the parts of layer l]
Source     Schraudolph (2002), as there; the parts of all layers at once are new here
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hfbench.curvature.chain_links import PassedLayer
from hfbench.linalg.vector import Vector

Groups = Sequence[Sequence[int]]  # of positions in a vector, each position in one


def jvp_parts(passed: Sequence[PassedLayer], V: Sequence[Vector], groups: Groups) -> Tensor:
    """J v of every part of each of k vectors: cases × parts × outputs, the k parts of the first group first."""
    k, group_of = len(V), _group_of(groups)
    begun: list[int] = []  # groups, in the order of their columns in RA
    RA: Tensor | None = None
    for layer in passed:
        own, RA = _own_parts(layer, V, group_of), None if RA is None else RA.to(layer.dtype)
        if RA is None:
            RS = next(iter(own.values())) if len(own) == 1 else torch.cat(list(own.values()), 1)
            begun = list(own)
        elif len(begun) == 1 and list(own) == begun:  # whole vectors: added up in place
            RS = own[begun[0]]
            RS.flatten(0, 1).addmm_(RA.flatten(0, 1), layer.W.T)
        else:
            RS = RA @ layer.W.T
            for group in [group for group in own if group in begun]:
                offset = k * begun.index(group)
                RS[:, offset : offset + k] += own.pop(group)
            RS = torch.cat([RS, *own.values()], 1)
            begun += own
        RA = layer.slope(RS, into=RS)
    assert RA is not None  # there is a layer
    if begun != sorted(begun):
        order = [begun.index(group) for group in range(len(groups))]
        RA = RA.view(len(RA), len(groups), k, -1)[:, order].flatten(1, 2)
    return RA


def _own_parts(layer: PassedLayer, V: Sequence[Vector], group_of: dict[int, int]) -> dict[int, Tensor]:
    """V_l a + v_l, cases × k × features, for the group of the layer's weight and that of its bias, if it is another."""
    dtype, cases = layer.dtype, len(layer.a)
    weights = torch.stack([v[layer.weight] for v in V]).to(dtype).flatten(0, 1)
    group, shape = group_of[layer.weight], (cases, len(V), -1)
    if layer.bias is None:
        return {group: (layer.a @ weights.T).view(shape)}
    biases = torch.stack([v[layer.bias] for v in V]).to(dtype)
    if group_of[layer.bias] == group:
        return {group: torch.addmm(biases.flatten(), layer.a, weights.T).view(shape)}
    return {group: (layer.a @ weights.T).view(shape), group_of[layer.bias]: biases.repeat(cases, 1, 1)}


def share_of_jvp(passed: Sequence[PassedLayer], k: int, groups: Groups) -> float:
    """Matrix products of `jvp_parts` over those of one J v, by their multiplications.

    Of these the first layer has two as well, by the convention of `hfbench.curvature.work_ledger`.
    """
    group_of, begun = _group_of(groups), set[int]()
    parts, whole = k * passed[0].W.numel(), 0
    for layer in passed:
        size = layer.W.numel()
        parts += k * size * (1 + len(begun))
        whole += 2 * size
        begun |= {group_of[i] for i in (layer.weight, layer.bias) if i is not None}
    return parts / whole


def _group_of(groups: Groups) -> dict[int, int]:
    """The group of each position."""
    return {position: index for index, group in enumerate(groups) for position in group}
