"""Objects in an optimiser's state as plain data, and back; no other package's class is touched."""

from __future__ import annotations

import io
from enum import IntEnum
from typing import Any

import pytest
import torch

from hfbench.errors import StoreError
from hfbench.solvers.optimizers.plain_state import as_it_was, as_plain

PACKAGE = __name__.partition(".")[0]


class Kind(IntEnum):
    ONE = 1


class Factor:
    def __init__(self) -> None:
        self.root, self.kind, self.inner = torch.eye(2), Kind.ONE, [Leaf(1.5), Leaf(2.5)]


class Leaf:
    def __init__(self, x: float) -> None:
        self.x = x


def test_objects_go_through_a_checkpoint_and_come_back() -> None:
    file = io.BytesIO()
    torch.save(as_plain({0: {"factor": Factor(), "step": 3, "betas": (0.9, 0.99), "nothing": None}}), file)
    file.seek(0)
    state: dict[int, Any] = as_it_was(torch.load(file, weights_only=True), PACKAGE)
    factor = state[0]["factor"]
    assert type(factor) is Factor
    assert torch.equal(factor.root, torch.eye(2))
    assert factor.kind == Kind.ONE
    assert [type(leaf) for leaf in factor.inner] == [Leaf, Leaf]
    assert [leaf.x for leaf in factor.inner] == [1.5, 2.5]
    assert (state[0]["step"], state[0]["betas"], state[0]["nothing"]) == (3, (0.9, 0.99), None)


@pytest.mark.parametrize(
    "name", ["subprocess:Popen", "os:system", "builtins:list", "nowhere:X", f"{__name__}:no.such", ""]
)
def test_classes_of_other_packages_are_refused(name: str) -> None:
    foreign = {"class of an object": name, "its attributes": {}}
    with pytest.raises(StoreError, match="must hold objects of this package, but names"):
        as_it_was({0: foreign}, PACKAGE)
