"""J v of parts of several vectors in a dense chain, all in one sweep.

The parts stand one after another, so that each layer has one matrix product for all that have begun. A part of a vector
is its blocks of one group of parameters, and zero elsewhere: in J v it begins at the first layer of its group, and
layers before that cost nothing. With R s_l of `hfbench.curvature.dense_chain`,
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
    begun: list[int] = []  # groups, in the order of their parts in RA, parts × cases × features
    RA: Tensor | None = None
    for layer in passed:
        own = dict.fromkeys(group_of[i] for i in (layer.weight, layer.bias) if i is not None)
        before, begun = len(begun), begun + [group for group in own if group not in begun]
        RS = layer.a.new_empty(k * len(begun), len(layer.a), len(layer.W))
        if RA is not None:
            torch.mm(RA.to(layer.dtype).flatten(0, 1), layer.W.T, out=RS[: k * before].flatten(0, 1))
        written = set(begun[:before])
        for i in [i for i in (layer.weight, layer.bias) if i is not None]:
            group = group_of[i]
            offset = k * begun.index(group)
            for into, v in zip(RS[offset : offset + k], V, strict=True):
                _add(into, v[i].to(layer.dtype), layer.a if i == layer.weight else None, beta=int(group in written))
            written.add(group)
        RA = layer.slope(RS, into=RS, columns=0)
    assert RA is not None  # there is a layer
    if begun != sorted(begun):
        order = [begun.index(group) for group in range(len(groups))]
        RA = RA.view(len(groups), k, *RA.shape[1:])[order].flatten(0, 1)
    return RA.transpose(0, 1)


def _add(into: Tensor, block: Tensor, a: Tensor | None, beta: int) -> None:
    """into ← beta·into + a Vᵀ for a weight's block V, or + v for a bias's."""
    if a is not None:
        into.addmm_(a, block.T, beta=beta)
    elif beta:
        into.add_(block)
    else:
        into.copy_(block.expand_as(into))


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
