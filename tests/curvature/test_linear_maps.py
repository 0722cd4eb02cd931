"""Linear maps in a graph: only those that are needed are made, in both directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import grad

from hfbench.curvature.linear_maps import LinearMap, is_recorded, with_maps


class Counted:
    """z = M a for a fixed matrix, with counts of its products."""

    def __init__(self, M: Tensor) -> None:
        self.M, self.pulls, self.pushes = M, 0, 0

    def map(self) -> LinearMap:
        return LinearMap((self.M,), self._pull, self._push)

    def _pull(self, kept: Sequence[Tensor], u: Tensor) -> Sequence[Tensor]:
        self.pulls += 1
        return [kept[0].T @ u]

    def _push(self, kept: Sequence[Tensor], v: Tensor) -> Tensor:
        self.pushes += 1
        return kept[0] @ v


def two_maps() -> tuple[Tensor, Tensor, Counted, Counted, Tensor]:
    torch.manual_seed(0)
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    M, N = Counted(torch.randn(2, 3)), Counted(torch.randn(2, 3))
    with torch.no_grad():
        z = M.M @ a + N.M @ b
    return a, b, M, N, with_maps(z, [(M.map(), [a]), (N.map(), [b])])


def test_only_the_maps_that_are_needed_are_made() -> None:
    a, b, M, N, z = two_maps()
    u = torch.ones(2)
    (by_a,) = grad(z, [a], u, retain_graph=True)
    torch.testing.assert_close(by_a, M.M.T @ u)
    assert (M.pulls, N.pulls) == (1, 0)
    grad(z, [a, b], u, retain_graph=True)
    assert (M.pulls, N.pulls, M.pushes, N.pushes) == (2, 1, 0, 0)


def test_the_transpose_of_the_transpose_is_the_map() -> None:
    a, b, M, N, z = two_maps()
    u, v = torch.zeros(2, requires_grad=True), torch.tensor([1.0, 2.0, 3.0])
    blocks = grad(z, [a, b], u, create_graph=True)
    (Jv,) = grad(blocks, u, [v, -v], retain_graph=True)
    torch.testing.assert_close(Jv, M.M @ v - N.M @ v)
    (Jv,) = grad(blocks[1], u, v, retain_graph=True)
    torch.testing.assert_close(Jv, N.M @ v)
    assert (M.pushes, N.pushes) == (1, 2)


def test_stand_ins_of_parts_have_no_memory() -> None:
    a, _, _, _, z = two_maps()
    assert z.grad_fn is not None
    parts = [node for node, _ in z.grad_fn.next_functions if node is not None]
    assert [node.name() for node in parts] == ["_PartBackward", "_PartBackward"]
    assert z._base is None, "no view: what comes after may write into it"
    z.relu_()
    (by_a,) = grad(z.sum(), [a])
    assert by_a.isfinite().all()


def test_a_view_becomes_a_tensor_of_its_own() -> None:
    a = torch.ones(4, requires_grad=True)
    half = LinearMap((), lambda kept, u: [torch.cat([u, 0 * u])], lambda kept, v: v[:2])
    z = with_maps(a.detach()[:2], [(half, [a])])
    z.mul_(3)
    assert grad(z.sum(), [a])[0].tolist() == [3, 3, 0, 0]
    assert a.tolist() == [1, 1, 1, 1]


def test_inputs_that_a_rule_leaves_to_pytorch() -> None:
    w = torch.ones(2, requires_grad=True)
    assert is_recorded(w, None, torch.ones(2))
    with torch.no_grad():
        assert not is_recorded(w)
    assert not is_recorded(torch.ones(2), None)
    assert not is_recorded(w, torch.ones(2, dtype=torch.float64)), "the error is PyTorch's"
    assert not is_recorded(w, torch.ones(2).to_sparse())
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
        assert not is_recorded(w), "which a checkpoint sets"

    def asked(x: Tensor) -> Tensor:
        assert not is_recorded(x, w)
        return x

    torch.func.vmap(asked)(torch.ones(2))
